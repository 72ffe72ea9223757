// The words for what a cache did, and what they mean.
export const words = {
	hit: "It was kept at the edge, and fresh. Nothing else was asked.",
	stale: "It was kept and no longer fresh, and was sent all the same.",
	confirmed: "It was kept and no longer fresh. The origin said that it still is the same.",
	partial: "A part of it was kept, and the edge fetches the rest.",
	joined: "Somebody else's fetch was under way, and its bytes go to both.",
	miss: "The edge fetches it from its origin.",
	pass: "It may not be kept.",
	fetched: "The edge asked its origin; more can't be seen from here.",
};

// isHit says whether all of the answer was kept.
export const isHit = (word) => word === "hit" || word === "stale";

// wordOf puts a Cache-Status (RFC 9211) into a word. What the edge says of itself
// comes last.
export function wordOf(cacheStatus) {
	if (!cacheStatus) {
		return "";
	}
	const parameters = new Map(cacheStatus.split(",").at(-1).split(";").slice(1).map((part) => {
		const [name, value = "true"] = part.trim().split("=");
		return [name, value];
	}));
	if (parameters.has("hit")) {
		return Number(parameters.get("ttl")) < 0 ? "stale" : "hit";
	}
	if (parameters.get("detail") === "failed") {
		return "stale";
	}
	if (parameters.get("fwd-status") === "304") {
		return "confirmed";
	}
	if (parameters.has("collapsed")) {
		return "joined";
	}
	switch (parameters.get("fwd")) {
	case "partial":
		return "partial";
	case "bypass":
	case "method":
		return "pass";
	default:
		return "miss";
	}
}
