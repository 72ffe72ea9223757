import {note, sent} from "./log.js";
import {watch} from "./slices.js";
import {words} from "./status.js";
import {secondsText} from "./text.js";

const element = (id) => document.getElementById(id);
const audio = element("audio"), play = element("play"), seek = element("seek"), quality = element("quality");

const partSize = 64 << 10; // bytes

let track; // that is played

start();

async function start() {
	for (const [word, meaning] of Object.entries(words)) {
		element("words").append(make("dt", {textContent: word}), make("dd", {textContent: meaning}));
	}
	const answer = await fetch("tracks.json", {cache: "no-cache"});
	const tracks = await answer.json();
	if (!await startWorker()) {
		watchTimings();
	}
	notePage();
	for (const each of tracks) {
		element("covers").append(cover(each));
	}
	choose(tracks[0]);
	play.disabled = seek.disabled = element("part").disabled = false;
}

// startWorker has the service worker tell of each request from now on, if there can
// be one.
async function startWorker() {
	if (!("serviceWorker" in navigator)) {
		return false;
	}
	try {
		navigator.serviceWorker.addEventListener("message", (event) => note(event.data));
		await navigator.serviceWorker.register("sw.js");
		const {active} = await navigator.serviceWorker.ready;
		if (!navigator.serviceWorker.controller) {
			const controlled = new Promise((resolve) => {
				navigator.serviceWorker.addEventListener("controllerchange", resolve, {once: true});
			});
			active.postMessage("claim");
			await controlled;
		}
		return true;
	} catch {
		return false;
	}
}

// watchTimings notes what browsers tell of requests without a worker.
function watchTimings() {
	element("limited").hidden = false;
	element("limited").textContent = "No service worker can run here, and so the page sees little of the edge's answers. " +
		"Browsers want https for it, or localhost.";
	let count = 0;
	new PerformanceObserver((list) => {
		for (const entry of list.getEntries()) {
			const {pathname, search} = new URL(entry.name);
			if (!pathname.startsWith("/cdn/")) {
				continue;
			}
			const timing = entry.serverTiming.map(({name, duration}) => [name, duration]);
			note({
				id: `entry-${++count}`,
				url: pathname + search,
				began: performance.timeOrigin + entry.startTime,
				status: entry.responseStatus,
				word: timing.length > 0 ? "fetched" : "",
				bytes: entry.encodedBodySize,
				timing,
				wait: entry.responseStart - entry.startTime,
				took: entry.duration,
			});
		}
	}).observe({type: "resource", buffered: true});
}

// notePage notes how the edge answers for this page.
async function notePage() {
	const began = Date.now();
	const {status, headers} = await fetch(location.pathname, {method: "HEAD", cache: "no-store"});
	const took = Date.now() - began;
	note({
		id: "page", url: location.pathname, began, status, cacheStatus: headers.get("Cache-Status"),
		age: headers.get("Age"), bytes: 0, wait: took, took,
	});
}

function make(name, properties, ...children) {
	const made = Object.assign(document.createElement(name), properties);
	made.append(...children);
	return made;
}

function cover(each) {
	// the time has the browser ask again after a reload; to the edge it is the same cover
	const src = `/cdn/art/${each.id}?quality=medium&at=${Date.now()}`;
	const image = make("img", {src, alt: "", width: 320, height: 180});
	const button = make("button", {type: "button"}, image, make("span", {textContent: each.title}));
	button.dataset.track = each.id;
	button.addEventListener("click", () => {
		choose(each);
		resume();
	});
	return make("li", {}, button);
}

// choose makes a track the one that is played.
function choose(chosen) {
	track = chosen;
	for (const button of element("covers").querySelectorAll("button")) {
		button.setAttribute("aria-pressed", button.dataset.track === track.id);
	}
	element("title").textContent = track.title;
	load();
}

// load sets the track's URL, which the player asks for when it is to play.
function load() {
	const url = stream(quality.value);
	audio.src = url;
	const replaced = quality.value === "low" && !track.streams[64];
	element("note").textContent = replaced ? "There is no 64 kbit/s of this track: the edge sends the other one." : "";
	showDuration(track.seconds);
	showPosition(0);
	watch(replaced ? stream("high") : url, () => sent(url));
}

// stream returns the URL of the track in a quality.
function stream(value) {
	return `/cdn/stream/${track.id}?quality=${value}`;
}

// fetchPart asks for what is at the slider, and only that, as players do that know
// what they need.
async function fetchPart() {
	const size = quality.value === "low" && track.streams[64] || track.streams[128];
	const start = Math.floor(size * Math.min(seek.valueAsNumber / track.seconds, 0.99));
	const range = `bytes=${start}-${start + partSize - 1}`;
	try {
		const answer = await fetch(stream(quality.value), {headers: {Range: range}, cache: "no-store"});
		await answer.arrayBuffer();
	} catch {
		element("note").textContent = "The edge does not answer.";
	}
}

function showDuration(seconds) {
	seek.max = Math.floor(seconds);
	element("duration").textContent = secondsText(seconds);
}

function showPosition(seconds) {
	seek.value = seconds;
	element("position").textContent = secondsText(seconds);
	seek.setAttribute("aria-valuetext", `${element("position").textContent} of ${element("duration").textContent}`);
}

// resume plays on. If it can't, the player has an error, or another track was chosen.
function resume() {
	audio.play().catch(() => {});
}

function showPlaying() {
	play.textContent = audio.paused ? "Play" : "Pause";
}

let seeking = false; // the slider is held

play.addEventListener("click", () => audio.paused ? resume() : audio.pause());
element("part").addEventListener("click", fetchPart);
seek.addEventListener("input", () => {
	seeking = true;
	showPosition(seek.valueAsNumber);
});
seek.addEventListener("change", () => {
	seeking = false;
	audio.currentTime = seek.valueAsNumber;
});
quality.addEventListener("change", () => {
	const {currentTime, paused} = audio;
	load();
	audio.currentTime = currentTime;
	if (!paused) {
		resume();
	}
});
audio.addEventListener("durationchange", () => {
	if (Number.isFinite(audio.duration)) {
		showDuration(audio.duration);
	}
});
audio.addEventListener("timeupdate", () => {
	if (!seeking) {
		showPosition(audio.currentTime);
	}
});
for (const event of ["play", "pause", "ended", "emptied"]) {
	audio.addEventListener(event, showPlaying);
}
audio.addEventListener("error", () => {
	element("note").textContent = `The player gave up: ${audio.error.message || `error ${audio.error.code}`}`;
});
