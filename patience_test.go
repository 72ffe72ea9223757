package voyo

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestTestsWait holds tests to be as quick as the machine is, and to run beside others:
// they sleep in bubbles of synctest only, or between two looks at what is about to
// happen, and listen on ports that the system chooses.
func TestTestsWait(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", "{{.Dir}}", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for dir := range strings.FieldsSeq(string(out)) {
		files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			found += checkWaits(t, file)
		}
	}
	if found < 50 {
		t.Errorf("only %d calls were looked at", found)
	}
}

// slowClients are the functions with clients for the bubbles of other files.
var slowClients = []string{"slowly"}

// checkWaits looks at a file's calls that sleep or listen, and returns how many it has.
func checkWaits(t *testing.T, name string) (found int) {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	bubbles := slices.ContainsFunc(file.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == `"testing/synctest"` })
	var path []ast.Node // from the file down to the node
	ast.Inspect(file, func(n ast.Node) bool {
		if n == nil {
			path = path[:len(path)-1]
			return true
		}
		path = append(path, n)
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		switch callee(call) {
		case "time.Sleep":
			found++
			if !bubbles && !slices.ContainsFunc(path, mayWait) {
				t.Errorf("%s: sleeps", set.Position(call.Pos()))
			}
		case "net.Listen", "net.ListenPacket":
			found++
			if lit, ok := call.Args[1].(*ast.BasicLit); ok && !isAnyPort(lit.Value) {
				t.Errorf("%s: listens on %s", set.Position(call.Pos()), lit.Value)
			}
		}
		return true
	})
	return found
}

// callee returns what is called, where it is of a package.
func callee(call *ast.CallExpr) string {
	if f, ok := call.Fun.(*ast.SelectorExpr); ok {
		if pkg, ok := f.X.(*ast.Ident); ok {
			return pkg.Name + "." + f.Sel.Name
		}
	}
	return ""
}

// mayWait reports whether what is in a node may sleep: it looks for something again and
// again, or is a client of a bubble's.
func mayWait(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.ForStmt:
		return true
	case *ast.FuncDecl:
		return slices.Contains(slowClients, n.Name.Name)
	default:
		return false
	}
}

func isAnyPort(literal string) bool {
	addr, err := strconv.Unquote(literal)
	return err == nil && strings.HasPrefix(addr, "127.0.0.") && strings.HasSuffix(addr, ":0")
}
