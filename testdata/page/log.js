import {isHit, wordOf, words} from "./status.js";
import {bytesText, timeText} from "./text.js";

const maxRows = 100;

const element = (id) => document.getElementById(id);

// answers are all that the edge has answered, by an ID. A request takes a while,
// and is noted several times.
const answers = new Map();

// note takes note of a request, or of what is new about it.
export function note(news) {
	const answer = answers.get(news.id) ?? {row: newRow()};
	Object.assign(answer, news);
	answer.word ||= wordOf(answer.cacheStatus);
	answers.set(news.id, answer);
	show(answer);
	showTotals();
}

// sent returns the ranges of bytes that this page was sent of a URL.
export function sent(url) {
	return [...answers.values()].filter((a) => a.url === url && a.bytes > 0)
		.map((a) => [a.start ?? 0, (a.start ?? 0) + a.bytes]);
}

function newRow() {
	const row = element("log").insertRow(0);
	for (const name of ["time", "what", "status", "cache", "age", "bytes", "wait", "took", "upstream"]) {
		row.insertCell().className = name;
	}
	if (element("log").rows.length > maxRows) {
		element("log").rows[maxRows].remove();
	}
	return row;
}

function show(answer) {
	const {row, word} = answer;
	const set = (name, text) => row.querySelector(`.${name}`).textContent = text;
	row.dataset.url = answer.url;
	row.dataset.word = word;
	row.title = words[word] ?? "";
	set("time", timeText(answer.began));
	set("what", what(answer));
	set("status", answer.failed ?? answer.status ?? "…");
	set("cache", word);
	set("age", answer.age ? `${answer.age} s` : "");
	set("bytes", answer.bytes === undefined ? "" : bytesText(answer.bytes));
	set("upstream", upstream(answer.timing));
	set("wait", milliseconds(answer.wait));
	set("took", answer.took === undefined ? "…" : milliseconds(answer.took) + (answer.left ? ", left" : ""));
}

// what says in words what was asked for.
function what({url, range}) {
	const kind = /^\/cdn\/(art|stream)\//.exec(url)?.[1];
	const asked = {art: "cover", stream: "stream"}[kind] ?? "this page";
	return range ? `${asked} ${range.replace("bytes=", "")}` : asked;
}

// upstream says how long the parts of a fetch took.
function upstream(timing = []) {
	return timing.length === 0 ? "" : `${timing.map(([name, n]) => `${name} ${n.toFixed(1)}`).join(", ")} ms`;
}

function milliseconds(n) {
	return n === undefined ? "" : `${n < 10 ? n.toFixed(1) : Math.round(n)} ms`;
}

function showTotals() {
	const known = [...answers.values()].filter((a) => a.word in words && a.word !== "fetched");
	const total = (list) => list.reduce((sum, a) => sum + (a.bytes ?? 0), 0);
	const hits = known.filter((a) => isHit(a.word));
	element("requests").textContent = answers.size;
	element("hits").textContent = percent(hits.length, known.length);
	element("hitBytes").textContent = percent(total(hits), total(known));
	element("bytes").textContent = bytesText(total([...answers.values()]));
}

function percent(part, whole) {
	return whole === 0 ? "–" : `${Math.floor(100 * part / whole)}%`;
}
