package voyo

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/voyo-music/caddy-voyo/resolver"
)

// post has an endpoint of the admin API answer, which is 200 with JSON, read into answer,
// or a 4xx that says why. It reports which.
func post(t *testing.T, serve func(http.ResponseWriter, *http.Request, []*Handler) error, h *Handler, body string, answer any) bool {
	t.Helper()
	w := httptest.NewRecorder()
	err := serve(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body)), []*Handler{h})
	if err != nil {
		e, ok := errors.AsType[caddy.APIError](err)
		if !ok || e.HTTPStatus < 400 || e.HTTPStatus >= 500 || e.Err == nil || w.Body.Len() > 0 {
			t.Errorf("%q: %v, %s", body, err, w.Body)
		}
		return false
	}
	if err := json.Unmarshal(w.Body.Bytes(), answer); err != nil || w.Code != http.StatusOK || !json.Valid([]byte(body)) {
		t.Errorf("%q: %d, %v: %s", body, w.Code, err, w.Body)
	}
	return true
}

// sameTracks reports whether the names are those of the IDs, in their order.
func sameTracks(ids []string, names []trackNames) bool {
	return slices.EqualFunc(ids, names, func(id string, n trackNames) bool {
		parsed, err := resolver.ParseID(id)
		return err == nil && n == namesOf(parsed)
	})
}

// FuzzPurge and FuzzPrefetch send the admin API any body.
func FuzzPurge(f *testing.F) {
	for _, s := range []string{
		"", "null", "{}", `{"all":true}`, `{"all":false}`, `{"ids":[]}`, `{"ids":["` + testID + `","` + testVOYO + `"],"tags":["a b"]}`, `{"IDS":["x"]}`,
		`{"paths":["/cdn/art/` + testID + `?quality=max","https://a.example:443/b?c#d","/stream?v=` + testID + `","http:a","//a"]}`, `{"paths":["http://a.example"]}`,
		`{"tags":[" "]}`, `{"all":true}{}`, `{"all":true,"all":false,"x":1}`, `[{"all":true}]`, `{"ids":null,"tags":["\ud800"]}`,
	} {
		f.Add(s)
	}
	h, _ := mustLoad(f, withResolver(""))
	api := &adminAPI{logger: zap.NewNop()}
	f.Fuzz(func(t *testing.T, body string) {
		var answer purgeAnswer
		if !post(t, api.servePurge, h, body, &answer) {
			return
		}
		var asked purgeRequest
		if err := json.Unmarshal([]byte(body), &asked); err != nil || !sameTracks(asked.IDs, answer.IDs) ||
			!slices.Equal(asked.Tags, answer.Tags) || !slices.Equal(asked.Paths, answer.Paths) || asked.All != answer.All {
			t.Errorf("%q, %v: %+v", body, err, answer)
		}
		if len(asked.IDs)+len(asked.Tags)+len(asked.Paths) == 0 && !asked.All || answer.Nodes != 1 || answer.Keys < len(asked.IDs)+len(asked.Paths) {
			t.Errorf("%q: %+v", body, answer)
		}
	})
}

func FuzzPrefetch(f *testing.F) {
	for _, s := range []string{
		"", "null", `{"ids":[]}`, `{"ids":["` + testID + `","x",""]}`, `{"ids":["` + testVOYO + `"],"type":"video","quality":"low"}`,
		`{"ids":["a"],"type":"AUDIO"}`, `{"ids":["a"],"quality":"max"}`, `{"ids":"` + testID + `"}`, `{"ids":[null]}`,
	} {
		f.Add(s)
	}
	h, _ := mustLoad(f, withResolver(""))
	api := &adminAPI{logger: zap.NewNop()}
	f.Fuzz(func(t *testing.T, body string) {
		var answer prefetchAnswer
		if !post(t, api.servePrefetch, h, body, &answer) {
			return
		}
		var asked prefetchRequest
		if err := json.Unmarshal([]byte(body), &asked); err != nil || len(asked.IDs) != len(answer.Results) || len(asked.IDs) == 0 {
			t.Fatalf("%q, %v: %+v", body, err, answer)
		}
		for i, result := range answer.Results {
			id, err := resolver.ParseID(asked.IDs[i])
			valid := slices.Contains([]string{prefetchWarming, prefetchAlready, prefetchBusy}, result.Status)
			if valid != (err == nil) || err != nil && result.Status != prefetchInvalid || err == nil && result.VOYOID != id.VOYO() {
				t.Errorf("%q: %+v", asked.IDs[i], result)
			}
		}
	})
}
