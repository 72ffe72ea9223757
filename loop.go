package voyo

import (
	"crypto/rand"
	"net/http"
	"regexp"
	"strings"
)

// edgeName is what this software calls itself to upstreams.
const edgeName = "caddy-voyo"

// edgeID tells this process from all other edges. It is random, so that no
// client can guess it and pretend that its request has been here before.
var edgeID = rand.Text()

// maxEdges is how many edges a request may pass. There are two or three tiers.
const maxEdges = 8

// loopEntry is this edge's in CDN-Loop.
var loopEntry = edgeName + "; id=" + edgeID

// edgeInfo is how an edge enters itself in CDN-Loop (RFC 8586, section 2): a
// name that all edges share, so that other software knows them, and the edge's ID.
var edgeInfo = regexp.MustCompile(`^` + edgeName + `; id=[A-Z2-7]{26}$`)

// isLoop reports whether a request has been at this edge before, or at so many
// others that it is not going anywhere.
func isLoop(header http.Header) bool {
	edges := passedEdges(header)
	return len(edges) > maxEdges || strings.Contains(strings.Join(edges, ","), edgeID)
}

// passedEdges returns the entries in CDN-Loop that edges made.
func passedEdges(header http.Header) []string {
	var edges []string
	for _, line := range header.Values("Cdn-Loop") {
		for entry := range strings.SplitSeq(line, ",") {
			if entry = strings.TrimSpace(entry); edgeInfo.MatchString(entry) {
				edges = append(edges, entry)
			}
		}
	}
	return edges
}

// cdnLoop returns the CDN-Loop to send upstream for a request: the edges it has
// passed, and this one.
//
// Entries that other software made are left out, although RFC 8586 wants them
// kept. Anyone can write them, an upstream that finds its own name there refuses
// the request, and the refusal would be remembered for everybody. A loop by way
// of such software is cut all the same: it keeps our entry, and we know that.
func cdnLoop(header http.Header) string {
	if len(header["Cdn-Loop"]) == 0 {
		return loopEntry
	}
	return strings.Join(append(passedEdges(header), loopEntry), ", ")
}
