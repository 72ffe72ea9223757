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

// maxEdges is how many entries in CDN-Loop are sent, this edge's included. There are
// two or three tiers; a loop of more edges than this would go unnoticed.
const maxEdges = 8

// loopEntry is this edge's in CDN-Loop.
var loopEntry = edgeName + "; id=" + edgeID

// edgeInfo is how an edge enters itself in CDN-Loop (RFC 8586, section 2): a
// name that all edges share, so that other software knows them, and the edge's ID.
var edgeInfo = regexp.MustCompile(`^` + edgeName + `; id=[A-Z2-7]{26}$`)

// isLoop reports whether a request has been at this edge before. How many others it
// has been at says nothing, since clients can name any number of them.
func isLoop(header http.Header) bool {
	return strings.Contains(strings.Join(passedEdges(header), ","), edgeID)
}

// passedEdges returns the entries in CDN-Loop that edges made.
func passedEdges(header http.Header) []string {
	var edges []string
	for _, line := range header["Cdn-Loop"] {
		for entry := range strings.SplitSeq(line, ",") {
			if entry = strings.TrimSpace(entry); edgeInfo.MatchString(entry) {
				edges = append(edges, entry)
			}
		}
	}
	return edges
}

// cdnLoop returns the CDN-Loop to send upstream for a request: the last edges that it
// has passed, and this one. Those in a loop come behind all that a client has made up,
// which thus can't have an upstream refuse what is fetched for others as well.
//
// Entries that other software made are left out, although RFC 8586 wants them
// kept. Anyone can write them, an upstream that finds its own name there refuses
// the request, and the refusal would be remembered for everybody. A loop by way
// of such software is cut all the same: it keeps our entry, and we know that.
func cdnLoop(header http.Header) string {
	if len(header["Cdn-Loop"]) == 0 {
		return loopEntry
	}
	edges := append(passedEdges(header), loopEntry)
	return strings.Join(edges[max(0, len(edges)-maxEdges):], ", ")
}
