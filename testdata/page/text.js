// bytesText says how much that is, as people read it.
export function bytesText(n) {
	const units = ["B", "KiB", "MiB", "GiB"];
	let unit = 0;
	while (n >= 1024 && unit < units.length - 1) {
		n /= 1024;
		unit++;
	}
	return `${unit === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)} ${units[unit]}`;
}

// timeText is the time of day.
export function timeText(milliseconds) {
	return new Date(milliseconds).toLocaleTimeString([], {hourCycle: "h23"});
}

// secondsText is how players write a time in a track.
export function secondsText(seconds) {
	const whole = Math.floor(seconds);
	return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

// durationText says roughly for how long.
export function durationText(seconds) {
	for (const [unit, length] of [["days", 86400], ["hours", 3600], ["minutes", 60]]) {
		if (seconds >= 2 * length) {
			return `${Math.floor(seconds / length)} ${unit}`;
		}
	}
	return `${seconds} seconds`;
}
