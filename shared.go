package voyo

import (
	"context"
	"errors"

	"golang.org/x/sync/singleflight"
)

// sharedLookups do a lookup once for all who ask for it at the same time. The zero value
// is ready for use.
type sharedLookups struct {
	flights singleflight.Group
}

// do returns what look does. Who asks first has to have the permit, which may be nil. If he
// has not, it is his problem alone: those who have joined him by then ask again.
func (s *sharedLookups) do(ctx context.Context, key string, permit func() error, look func() (any, error)) (any, error) {
	for {
		refused := false // and not somebody else
		found := s.flights.DoChan(key, func() (any, error) {
			if permit != nil {
				if err := permit(); err != nil {
					refused = true
					return nil, err
				}
			}
			return look()
		})
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case result := <-found:
			if _, ok := errors.AsType[problem](result.Err); ok && !refused {
				continue
			}
			return result.Val, result.Err
		}
	}
}
