package voyo

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"go.uber.org/zap"

	"github.com/voyo-music/caddy-voyo/internal/fleet"
)

// takedownRequest is what /voyo/takedown is sent.
type takedownRequest struct {
	IDs  []string `json:"ids"`
	Lift bool     `json:"lift,omitempty"` // what was taken down
}

// takedownAnswer says what was taken down, or lifted.
type takedownAnswer struct {
	IDs  []trackNames `json:"ids"`
	Lift bool         `json:"lift,omitempty"`
	fleetReceipt
}

// errNoFleet says why nothing can be taken down: one node could not say that it is so
// everywhere, and for good.
var errNoFleet = errors.New("takedowns need a fleet, and the running configuration has none")

// serveTakedown has tracks taken down by the fleet, or lifted.
func (a *adminAPI) serveTakedown(w http.ResponseWriter, r *http.Request, handlers []*Handler) error {
	var asked takedownRequest
	if err := readJSON(w, r, &asked); err != nil {
		return err
	}
	drafts, answer, err := asked.parse()
	if err != nil {
		return refusal(http.StatusBadRequest, err)
	}
	log := fleetOf(handlers)
	switch {
	case log == nil:
		return refusal(http.StatusConflict, errNoFleet)
	case !asked.Lift && takenDownBy(handlers)+len(drafts) > maxTakedowns:
		return refusal(http.StatusConflict, fmt.Errorf("more than %d tracks would be taken down", maxTakedowns))
	}
	answer.fleetReceipt, err = log.append(context.WithoutCancel(r.Context()), drafts...)
	fields := append(whoAsks(r), zap.Int("ids", len(drafts)), zap.Bool("lift", asked.Lift))
	if err != nil {
		a.logger.Error("takedown failed", append(fields, zap.Error(err))...)
		return err
	}
	a.logger.Info("takedown", append(fields, answer.fields()...)...)
	return adminJSON(w, r, answer)
}

// parse checks what was sent.
func (q takedownRequest) parse() (drafts []fleet.Draft, answer takedownAnswer, err error) {
	switch {
	case len(q.IDs) == 0:
		return nil, answer, errors.New(`"ids" is required, and must not be empty`)
	case len(q.IDs) > fleet.MaxDrafts:
		return nil, answer, fmt.Errorf("ids: more than %d", fleet.MaxDrafts)
	}
	ids, err := parseIDs(q.IDs)
	if err != nil {
		return nil, answer, err
	}
	kind := fleet.Takedown
	if q.Lift {
		kind = fleet.Lift
	}
	answer.Lift = q.Lift
	for _, id := range ids {
		drafts = append(drafts, fleet.Draft{Kind: kind, ID: id.String()})
		answer.IDs = append(answer.IDs, namesOf(id))
	}
	return drafts, answer, nil
}

// takenDownBy returns how many tracks are taken down.
func takenDownBy(handlers []*Handler) (n int) {
	for _, s := range statesOf(handlers) {
		n = max(n, s.takedowns.count())
	}
	return n
}
