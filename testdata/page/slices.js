import {bytesText, durationText} from "./text.js";

// sliceSize is the edge's, unless it is configured otherwise.
const sliceSize = 256 << 10;

const pollEvery = 500; // milliseconds

const bar = document.getElementById("slices");
const kept = document.getElementById("kept");

let shown = 0; // how often another track was shown

// watch shows what the edge keeps of a URL, until it is told to watch another one.
// sent returns the ranges of bytes that were sent to this page.
export async function watch(url, sent) {
	const turn = ++shown;
	bar.replaceChildren();
	kept.textContent = "";
	for (;;) {
		if (document.visibilityState === "visible") {
			const stored = await explain(url).catch(() => null);
			if (turn !== shown) {
				return;
			}
			if (stored === null) {
				bar.replaceChildren();
				kept.textContent = "The edge does not say what it keeps.";
				return;
			}
			draw(stored, sent());
		}
		await new Promise((resolve) => setTimeout(resolve, pollEvery));
		if (turn !== shown) {
			return;
		}
	}
}

// explain asks the edge what it keeps of a URL. It fetches nothing for that.
async function explain(url) {
	const response = await fetch(`/demo/explain?url=${encodeURIComponent(url)}`);
	if (!response.ok) {
		throw new Error(`explain: ${response.status}`);
	}
	const {handlers} = await response.json();
	const stored = handlers[0].stored?.[0];
	return stored?.size > 0 ? {...stored, memory: stored.memory.map(range), disk: stored.disk.map(range)} : undefined;
}

// range reads a range as HTTP writes it, with the last byte in it.
function range(text) {
	const [first, last] = text.split("-").map(Number);
	return [first, last + 1];
}

function draw(stored, sent) {
	if (!stored) {
		bar.replaceChildren();
		kept.textContent = "Nothing of it is kept at the edge.";
		return;
	}
	const {size, memory, disk, ttl, filling, storedBytes} = stored;
	const count = Math.ceil(size / sliceSize);
	while (bar.children.length < count) {
		const slice = document.createElement("i");
		slice.className = "slice";
		bar.append(slice);
	}
	for (const [i, slice] of [...bar.children].entries()) {
		const start = i * sliceSize, end = Math.min(start + sliceSize, size);
		const holds = (ranges) => ranges.some(([from, to]) => from <= start && end <= to);
		const tier = holds(memory) ? "memory" : holds(disk) ? "disk" : "";
		slice.dataset.tier = tier;
		slice.classList.toggle("sent", sent.some(([from, to]) => from < end && start < to));
		slice.style.flexGrow = end - start;
		slice.title = `${bytesText(start)} to ${bytesText(end)}${tier && `, in ${tier}`}`;
	}
	const freshness = ttl > 0 ? `fresh for ${durationText(ttl)}` : "no longer fresh";
	kept.textContent = `${bytesText(storedBytes)} of ${bytesText(size)} are kept at the edge, ${freshness}${filling ? "; more is being fetched" : ""}.`;
}
