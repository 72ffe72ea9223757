package voyo_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	voyo "github.com/voyo-music/caddy-voyo"
)

const configuration = "docs/configuration.md"

// options returns the fields of a configuration's JSON, by the path to them.
func options(prefix string, typ reflect.Type) (paths []string) {
	for typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct {
		return nil
	}
	for f := range typ.Fields() {
		if f.Anonymous {
			paths = append(paths, options(prefix, f.Type)...)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		paths = append(paths, prefix+name)
		paths = append(paths, options(prefix+name+".", f.Type)...)
	}
	return paths
}

// given returns the fields that an object has, likewise.
func given(prefix string, object map[string]any) (paths []string) {
	for name, v := range object {
		paths = append(paths, prefix+name)
		if inner, ok := v.(map[string]any); ok {
			paths = append(paths, given(prefix+name+".", inner)...)
		}
	}
	return paths
}

// example returns the handler in the document on configuration, as a Caddyfile and
// as JSON.
func example(t *testing.T) (caddyfile, config string) {
	t.Helper()
	text := readRepository(t, configuration)
	caddyfiles, headings := codeBlocks(text, "caddyfile")
	i := slices.Index(headings, "Example")
	configs, _ := codeBlocks(text, "json")
	if i < 0 || len(configs) != 1 {
		t.Fatalf("no example in both forms in %s", configuration)
	}
	return caddyfiles[i], configs[0]
}

// The Caddyfile of the example is the JSON that it is said to be.
func TestConfigurationExample(t *testing.T) {
	setKeys(t)
	caddyfile, config := example(t)
	var adapted struct {
		Apps struct {
			HTTP struct {
				Servers map[string]struct {
					Routes []struct{ Handle []json.RawMessage }
				}
			}
		}
	}
	if err := json.Unmarshal(checkCaddyfile(t, inSite(caddyfile)), &adapted); err != nil {
		t.Fatal(err)
	}
	handler := adapted.Apps.HTTP.Servers["srv0"].Routes[0].Handle[0]
	if got, want := canonical(t, string(handler)), canonical(t, config); got != want {
		t.Errorf("the Caddyfile is\n%s\nthe document has\n%s", got, want)
	}
}

// The document names each field of the configuration's JSON, and the example has it.
func TestConfigurationFields(t *testing.T) {
	text := readRepository(t, configuration)
	_, config := example(t)
	var object map[string]any
	if err := json.Unmarshal([]byte(config), &object); err != nil {
		t.Fatal(err)
	}
	want, got := options("", reflect.TypeFor[voyo.Handler]()), given("", object)
	resolvers := make(map[string]map[string]any)
	for _, r := range object["resolvers"].([]any) {
		resolvers[r.(map[string]any)["resolver"].(string)] = r.(map[string]any)
	}
	for _, m := range caddy.GetModules("http.voyo.resolvers") {
		typ := reflect.TypeOf(m.New())
		if !strings.Contains(typ.Elem().PkgPath(), "/caddy-voyo/resolver/") {
			continue // a test's
		}
		prefix := "resolvers/" + m.ID.Name() + "."
		want = append(want, options(prefix, typ)...)
		got = append(got, given(prefix, resolvers[m.ID.Name()])...)
	}
	if len(want) < 50 {
		t.Errorf("only %d fields were found", len(want))
	}
	for _, path := range want {
		if !slices.Contains(got, path) {
			t.Errorf("the example lacks %s", path)
		}
		if name := path[strings.LastIndexByte(path, '.')+1:]; !strings.Contains(text, "`"+name) {
			t.Errorf("%s does not explain %s", configuration, path)
		}
	}
}

// subdirectives returns what the Caddyfile's parsers know, found in their source: the
// keys of maps of parsers, what is put into those, and the cases of switches over the
// subdirective's name.
func subdirectives(t *testing.T) []string {
	t.Helper()
	names := make(map[string]bool)
	add := func(e ast.Expr) {
		if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			name, _ := strconv.Unquote(lit.Value)
			names[name] = true
		}
	}
	visit := func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CompositeLit:
			if isParsers(n.Type) {
				for _, e := range n.Elts {
					add(e.(*ast.KeyValueExpr).Key)
				}
			}
		case *ast.AssignStmt:
			if index, ok := n.Lhs[0].(*ast.IndexExpr); ok {
				add(index.Index)
			}
		case *ast.SwitchStmt:
			if isVal(n.Tag) {
				for _, c := range n.Body.List {
					for _, e := range c.(*ast.CaseClause).List {
						add(e)
					}
				}
			}
		}
		return true
	}
	for _, pattern := range []string{"*.go", "resolver/*/*.go"} {
		files, err := filepath.Glob(repositoryFile(t, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, decl := range f.Decls {
				fn, ok := decl.(*ast.FuncDecl)
				if ok && !strings.HasSuffix(file, "_test.go") && takesDispenser(fn) {
					ast.Inspect(fn, visit)
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// takesDispenser reports whether a function reads a Caddyfile, or makes what does.
func takesDispenser(fn *ast.FuncDecl) bool {
	found := false
	ast.Inspect(fn, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && (id.Name == "Dispenser" || id.Name == "block") {
			found = true
		}
		return !found
	})
	return found
}

// isParsers reports whether a type is a block, or the s3 resolver's likes of one:
// pointers by name.
func isParsers(typ ast.Expr) bool {
	if m, ok := typ.(*ast.MapType); ok {
		_, pointers := m.Value.(*ast.StarExpr)
		return pointers
	}
	id, ok := typ.(*ast.Ident)
	return ok && id.Name == "block"
}

// isVal reports whether an expression is d.Val().
func isVal(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	return ok && sel.Sel.Name == "Val"
}

// The document explains each subdirective, its example has it, and README names it.
func TestConfigurationSubdirectives(t *testing.T) {
	text, readme := readRepository(t, configuration), readRepository(t, "README.md")
	caddyfile, _ := example(t)
	names := subdirectives(t)
	if len(names) < 30 || !slices.Contains(names, "stale_if_error") || !slices.Contains(names, "bucket") || !slices.Contains(names, "timeout") {
		t.Errorf("only these were found: %v", names)
	}
	for _, name := range names {
		if !strings.Contains(text, "`"+name) {
			t.Errorf("%s does not explain %s", configuration, name)
		}
		for where, block := range map[string]string{"the example": caddyfile, "README": readme} {
			if !slices.ContainsFunc(strings.Split(block, "\n"), func(line string) bool {
				fields := strings.Fields(line)
				return strings.HasPrefix(line, "\t") && len(fields) > 0 && fields[0] == name
			}) {
				t.Errorf("%s lacks %s", where, name)
			}
		}
	}
}
