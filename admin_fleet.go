package voyo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/voyo-music/caddy-voyo/internal/fleet"
)

// fleetReceipt says which nodes have done what was asked for. Without a fleet a node is the
// handlers that share a cache, and none is ever pending.
type fleetReceipt struct {
	Nodes   int      `json:"nodes"`             // how many have
	Pending []string `json:"pending,omitempty"` // nodes that have not answered: before they serve on they will
	Failed  []string `json:"failed,omitempty"`  // nodes where it is in effect, but may not be any more after a restart
}

// incomplete says what is to be said if not all nodes have done it.
func (f fleetReceipt) incomplete() error {
	all := f.Nodes + len(f.Pending) + len(f.Failed)
	if f.Nodes == all {
		return nil
	}
	return fmt.Errorf("%d of %s have done it so far", f.Nodes, counted(all, "node"))
}

// fields are what the log says of it.
func (f fleetReceipt) fields() []zap.Field {
	fields := []zap.Field{zap.Int("nodes", f.Nodes)}
	if len(f.Pending) > 0 {
		fields = append(fields, zap.Strings("pending", f.Pending))
	}
	if len(f.Failed) > 0 {
		fields = append(fields, zap.Strings("failed", f.Failed))
	}
	return fields
}

// fleetOf returns the log of the fleet that the handlers are in, nil if they are in none.
func fleetOf(handlers []*Handler) *fleetLog {
	for _, h := range handlers {
		if f := h.state.following.Load(); f != nil {
			return f.log
		}
	}
	return nil
}

// tell has the fleet purge. An error is one for the admin API.
func (q purgeRequest) tell(ctx context.Context, log *fleetLog) (fleetReceipt, error) {
	var data bytes.Buffer
	enc := json.NewEncoder(&data)
	enc.SetEscapeHTML(false) // or else it might be longer than what was sent
	if err := enc.Encode(q); err != nil {
		return fleetReceipt{}, err
	}
	if data.Len() > fleet.MaxData {
		return fleetReceipt{}, refusal(http.StatusRequestEntityTooLarge, fmt.Errorf("more than %d bytes", fleet.MaxData))
	}
	return log.append(ctx, fleet.Draft{Kind: fleet.Purge, Data: data.Bytes()})
}

// append tells the fleet, and waits for what its nodes say. An error is one for the admin
// API.
func (l *fleetLog) append(ctx context.Context, drafts ...fleet.Draft) (fleetReceipt, error) {
	receipt, err := l.Append(ctx, drafts...)
	answer := fleetReceipt{Nodes: len(receipt.Applied), Pending: receipt.Pending, Failed: receipt.Failed}
	switch {
	case err == nil:
		return answer, nil
	case errors.Is(err, fleet.ErrInvalid):
		return answer, refusal(http.StatusBadRequest, err)
	case errors.Is(err, fleet.ErrUnknownNodes):
		return answer, refusal(http.StatusServiceUnavailable, errors.New(
			"the fleet has been told, and will do it, but which nodes have is not known: ask again, and it is done once more"))
	case receipt.Appended > 0:
		return answer, refusal(http.StatusServiceUnavailable, fmt.Errorf(
			"only the first %d of %d were told the fleet: %w: ask again", receipt.Appended, len(drafts), err))
	default:
		return answer, refusal(http.StatusServiceUnavailable, fmt.Errorf("the fleet could not be told: %w: ask again", err))
	}
}

// fleetMembership is how the node stands in its fleet.
type fleetMembership struct {
	Node      string `json:"node"`
	Connected bool   `json:"connected"`        // with NATS
	Current   bool   `json:"current"`          // it has done what the fleet has been told
	Reason    string `json:"reason,omitempty"` // what is not as it should be
	Applied   uint64 `json:"applied"`          // up to which entry of the log
	Lag       uint64 `json:"lag"`              // entries that are known and not applied yet
}

func (l *fleetLog) membership() *fleetMembership {
	s := l.Status()
	return &fleetMembership{
		Node: l.member.node, Connected: s.Connected, Current: s.Current, Reason: s.Why(), Applied: s.Applied, Lag: s.Lag,
	}
}

// fleetStatus is the answer of /voyo/status?fleet=true.
type fleetStatus struct {
	Nodes []fleetNode `json:"nodes"`
}

// fleetNode is one of the nodes that are registered, or answer.
type fleetNode struct {
	Name     string          `json:"name"`
	Version  string          `json:"version"`
	Since    time.Time       `json:"since"`            // when it has joined
	Renewed  time.Time       `json:"renewed,omitzero"` // when it was last registered
	Answered bool            `json:"answered"`         // it is there
	Status   json.RawMessage `json:"status,omitempty"` // its /voyo/status
}

// serveFleetStatus answers how the nodes of the fleet are.
func (a *adminAPI) serveFleetStatus(w http.ResponseWriter, r *http.Request, handlers []*Handler) error {
	log := fleetOf(handlers)
	if log == nil {
		return refusal(http.StatusConflict, errors.New("the running configuration has no fleet"))
	}
	nodes, err := log.Nodes(r.Context())
	if err != nil {
		return refusal(http.StatusServiceUnavailable, fmt.Errorf("the fleet could not be asked: %w", err))
	}
	answer := fleetStatus{Nodes: []fleetNode{}}
	for _, n := range nodes {
		answer.Nodes = append(answer.Nodes, fleetNode{n.Name, n.Version, n.Since, n.Renewed, n.Answered, n.Status})
	}
	return adminJSON(w, r, answer)
}
