"use strict";

// This worker stands between the page and the edge, as a page can't see how its own
// player and pictures were answered. It asks what they ask, of the edge rather than
// of the browser's cache, passes the answers on and tells the page about them.

const reportEvery = 200; // milliseconds

let requests = 0;

self.addEventListener("install", () => self.skipWaiting());

// A page that was loaded before the worker was there, or without it, asks for it.
self.addEventListener("message", (event) => {
	if (event.data === "claim") {
		event.waitUntil(self.clients.claim());
	}
});

self.addEventListener("fetch", (event) => {
	const {request} = event;
	const url = new URL(request.url);
	if (request.method === "GET" && url.origin === self.location.origin && url.pathname.startsWith("/cdn/")) {
		event.respondWith(answer(event, url));
	}
});

async function answer(event, url) {
	const {request} = event;
	const client = await self.clients.get(event.clientId);
	const began = Date.now();
	const id = `${began}-${++requests}`;
	const report = (news) => client?.postMessage({id, ...news});
	const took = () => Date.now() - began;

	report({url: url.pathname + url.search, range: request.headers.get("Range"), began});
	let response;
	try {
		response = await fetch(url, {headers: request.headers, cache: "no-store", signal: request.signal});
	} catch (error) {
		report({failed: "failed", took: took()});
		throw error;
	}
	const field = (name) => response.headers.get(name);
	report({
		status: response.status,
		start: Number(/^bytes (\d+)-/.exec(field("Content-Range"))?.[1] ?? 0),
		cacheStatus: field("Cache-Status"),
		age: field("Age"),
		timing: timing(field("Server-Timing")),
		wait: took(),
	});
	if (!response.body) {
		report({bytes: 0, took: took()});
		return response;
	}
	const {status, statusText, headers} = response;
	let end;
	event.waitUntil(new Promise((resolve) => end = resolve));
	const body = counted(response.body, (bytes) => report({bytes}), (bytes, left) => {
		report({bytes, left, took: took()});
		end();
	});
	return new Response(body, {status, statusText, headers});
}

// counted passes a body on, no faster than it is read. It says how many bytes have
// passed every now and then, and at the end, whole or not.
function counted(body, progress, end) {
	const reader = body.getReader();
	let bytes = 0, timer = 0;
	const ended = (left) => {
		clearTimeout(timer);
		end(bytes, left);
	};
	return new ReadableStream({
		async pull(controller) {
			try {
				const {value, done} = await reader.read();
				if (done) {
					ended(false);
					controller.close();
					return;
				}
				bytes += value.length;
				timer ||= setTimeout(() => {
					timer = 0;
					progress(bytes);
				}, reportEvery);
				controller.enqueue(value);
			} catch (error) {
				ended(true);
				throw error;
			}
		},
		cancel(reason) {
			ended(true);
			return reader.cancel(reason);
		},
	}, {highWaterMark: 0});
}

// timing reads the parts of a Server-Timing field, and how many milliseconds they took.
function timing(field) {
	return [...field?.matchAll(/(\w+);dur=([\d.]+)/g) ?? []].map(([, name, duration]) => [name, Number(duration)]);
}
