package main

// tuned are the edge with one setting changed. They take part when they are named, all of
// them by tunedName, with the edge as it comes before them.
func tuned(l *lab, edge server) []server {
	all := []server{edge}
	for _, s := range []struct {
		name, about, option string
		env                 []string
	}{
		{name: "gogc-50", env: []string{"GOGC=50"}, about: "GOGC=50: half as much garbage is let grow"},
		{name: "gogc-200", env: []string{"GOGC=200"}, about: "GOGC=200: twice as much"},
		{name: "gogc-400", env: []string{"GOGC=400"}, about: "GOGC=400: four times as much"},
		{name: "memlimit", env: []string{"GOGC=off", "GOMEMLIMIT=512MiB"}, about: "GOGC=off, GOMEMLIMIT=512MiB: only near the limit"},
		{name: "slice-64KiB", option: "stream {\n slice 64KiB\n }", about: "slice 64KiB"},
		{name: "slice-1MiB", option: "stream {\n slice 1MiB\n }", about: "slice 1MiB"},
		{name: "ahead-0", option: "stream {\n read_ahead 0\n }", about: "read_ahead 0"},
		{name: "ahead-4", option: "stream {\n read_ahead 4\n }", about: "read_ahead 4"},
	} {
		all = append(all, server{
			name: s.name, about: s.about, version: edge.version, edge: true,
			start: caddyWith(l.caddy, edgeSite(roomForCovers+s.option), s.env...),
		})
	}
	return all
}

// tunedName names all of them.
const tunedName = "tuned"
