// Templates of a service in Go. `%NAME%` is the service's name.

import { tryIt } from './readme.ts'

export const GO_SERVICE = `// The custom service %NAME%: service [DIRECTORY], where the gateway looks; by default /var/xapi/plugin.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"service/xengate"
)

const (
	name   = "%NAME%"
	prefix = "/services/plugin/" + name
)

func handler(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == prefix && r.Method == http.MethodGet:
		fmt.Fprintf(w, "hello %s\\n", xengate.CallerOf(r).User)
	case r.URL.Path == prefix+"/size" && (r.Method == http.MethodPut || r.Method == http.MethodPost):
		// The body is read as it comes, and never kept whole.
		size, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			http.Error(w, "The body broke off.", http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "%d bytes\\n", size)
	default:
		http.Error(w, "There is nothing here.", http.StatusNotFound)
	}
}

func main() {
	options := xengate.Options{Directory: "/var/xapi/plugin"}
	if len(os.Args) > 1 {
		options.Directory = os.Args[1]
	}
	options.OnListening = func() { fmt.Println("listening on", filepath.Join(options.Directory, name)) }
	if err := xengate.Serve(name, http.HandlerFunc(handler), options); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
`

export const GO_TEST = `package main

// Signs in at a gateway and calls the service, which has to run.
//
// XENGATE_URL is the gateway (by default http://127.0.0.1:8080), XENGATE_USER and XENGATE_PASSWORD who signs in (by default root, with
// the password that "xengate dev" has left in .xengate/password, here or in the nearest directory above).

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var (
	url     = setting("XENGATE_URL", "http://127.0.0.1:8080")
	user    = setting("XENGATE_USER", "root")
	session string
)

func setting(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

// foundPassword is that of the nearest gateway: this directory's, or that of one above.
func foundPassword() (string, error) {
	directory, err := os.Getwd()
	if err != nil {
		return "", err
	}
	var looked []string
	for {
		path := filepath.Join(directory, ".xengate/password")
		if text, err := os.ReadFile(path); err == nil {
			return strings.TrimSpace(string(text)), nil
		}
		looked = append(looked, path)
		if directory == "/" {
			return "", fmt.Errorf("there is no password: set XENGATE_PASSWORD, or start a gateway with xengate dev; looked for %s", strings.Join(looked, " "))
		}
		directory = filepath.Dir(directory)
	}
}

// call calls the XenAPI.
func call(method string, params ...string) (string, error) {
	body, _ := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	response, err := http.Post(url+"/jsonrpc", "application/json", strings.NewReader(string(body)))
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	var answer struct {
		Result string
		Error  any
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return "", err
	}
	if answer.Error != nil {
		return "", fmt.Errorf("%s: %v", method, answer.Error)
	}
	return answer.Result, nil
}

func TestMain(m *testing.M) {
	password := os.Getenv("XENGATE_PASSWORD")
	var err error
	if password == "" {
		password, err = foundPassword()
	}
	if err == nil {
		session, err = call("session.login_with_password", user, password, "1.0", "test of %NAME%")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot sign in:", err)
		os.Exit(1)
	}
	code := m.Run()
	call("session.logout", session)
	os.Exit(code)
}

// ask calls the service; the session may be empty.
func ask(t *testing.T, session, method, path, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequest(method, url+prefix+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if session != "" {
		request.Header.Set("Cookie", "session_id="+session)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func TestSaysWhoAsks(t *testing.T) {
	if status, text := ask(t, session, "GET", "", ""); status != 200 || text != "hello "+user+"\\n" {
		t.Fatal(status, text)
	}
}

func TestReadsABody(t *testing.T) {
	if status, text := ask(t, session, "PUT", "/size", strings.Repeat("x", 1_000_000)); status != 200 || text != "1000000 bytes\\n" {
		t.Fatal(status, text)
	}
}

func TestHasNothingElsewhere(t *testing.T) {
	if status, text := ask(t, session, "GET", "/none", ""); status != 404 || text != "There is nothing here.\\n" {
		t.Fatal(status, text)
	}
}

func TestIsNotReachedWithoutASession(t *testing.T) {
	if status, text := ask(t, "", "GET", "", ""); status != 403 {
		t.Fatal(status, text)
	}
}
`

export const GO_MODULE = `module service

go 1.19
`

export const GO_README: string = `# %NAME%

A custom service in Go 1.19 or later, on the package in \`xengate/\`: nothing has to be fetched.

## Build it

\`\`\`sh
CGO_ENABLED=0 go build -o service .
\`\`\`

The program needs nothing of the machine where it runs. \`xengate/\` is a copy of Xengate's library for Go, which \`go doc ./xengate\` explains.

${tryIt('./service', 'go test -count=1 -v .')}
## Install it on a host

\`\`\`sh
mkdir -p /opt/%NAME% && cp service /opt/%NAME%/
cp %NAME%.service %NAME%.socket /etc/systemd/system/
systemctl daemon-reload && systemctl enable --now %NAME%.socket
\`\`\`

systemd listens on the sockets, and starts the service at the first request. \`journalctl -u %NAME%\` shows what it prints.
`
