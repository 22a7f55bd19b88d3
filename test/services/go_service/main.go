// A service on the Go library, for the tests of service libraries: go_service DIRECTORY NAME [JSON of options].
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path"
	"strings"
	"sync"
	"syscall"
	"time"

	"xengate"
)

var (
	mu       sync.Mutex
	released = make(chan struct{})
)

// untilReleased waits for the next SIGUSR1.
func untilReleased() {
	mu.Lock()
	next := released
	mu.Unlock()
	fmt.Println("asked")
	<-next
}

func lowered(header http.Header) map[string]string {
	made := map[string]string{}
	for name, values := range header {
		separator := ", "
		if name == "Cookie" {
			separator = "; "
		}
		made[strings.ToLower(name)] = strings.Join(values, separator)
	}
	return made
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if os.Getenv("XENGATE_TELL") != "" {
		seen, _ := json.Marshal(fmt.Sprintf("%s %s %s", r.Method, r.RequestURI, body))
		fmt.Printf("saw %s\n", seen)
	}
	caller, headers := xengate.CallerOf(r), lowered(r.Header)
	headers["host"] = r.Host
	json.NewEncoder(w).Encode(map[string]any{
		"method": r.Method, "target": r.RequestURI, "headers": headers, "body": string(body), "trailers": lowered(r.Trailer),
		"listenFds": os.Getenv("LISTEN_FDS"),
		"caller": map[string]any{
			"user": caller.User, "subject": caller.Subject, "roles": caller.Roles, "originator": caller.Originator,
			"sessionId": caller.SessionID, "channel": caller.Channel, "task": caller.Task,
		},
	})
}

// pieces goes out in two.
func pieces(w http.ResponseWriter, _ *http.Request) {
	io.WriteString(w, "one")
	w.(http.Flusher).Flush()
	untilReleased()
	io.WriteString(w, "last")
}

// lines tells of each line of the body when it comes.
func lines(w http.ResponseWriter, r *http.Request) {
	all := bufio.NewScanner(r.Body)
	for all.Scan() {
		fmt.Println("read", all.Text())
	}
	io.WriteString(w, "all read")
}

func endless(w http.ResponseWriter, r *http.Request) {
	piece := make([]byte, 100_000)
	for r.Context().Err() == nil {
		if _, err := w.Write(piece); err != nil {
			return
		}
	}
}

func upgrade(w http.ResponseWriter, r *http.Request) {
	conn, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	if strings.HasSuffix(r.URL.Path, "/fail") {
		panic("of the upgrade")
	}
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n%s", xengate.CallerOf(r).User)
	io.Copy(conn, buffered)
}

func handler(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") == "echo" {
		upgrade(w, r)
		return
	}
	switch path.Base(r.URL.Path) {
	case "hello":
		if r.Method == http.MethodDelete {
			w.Header().Set("Allow", "GET, HEAD, PUT, POST")
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		fmt.Fprintf(w, "hello %s\n", xengate.CallerOf(r).User)
	case "length":
		body, _ := io.ReadAll(r.Body)
		fmt.Fprint(w, len(body))
	case "none":
		http.NotFound(w, r)
	case "empty":
		w.WriteHeader(http.StatusNoContent)
	case "pieces":
		pieces(w, r)
	case "lines":
		lines(w, r)
	case "endless":
		endless(w, r)
	case "slow":
		untilReleased()
		io.WriteString(w, "done")
	case "fail":
		w.Header().Set("Content-Length", "3")
		panic("on purpose")
	case "fail-late":
		io.WriteString(w, "begun")
		w.(http.Flusher).Flush()
		panic("on purpose")
	case "fail-done":
		w.Header().Set("Content-Length", "4")
		io.WriteString(w, "done")
		w.(http.Flusher).Flush()
		panic("on purpose")
	default:
		echo(w, r)
	}
}

func main() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	go func() {
		for range signals {
			mu.Lock()
			close(released)
			released = make(chan struct{})
			mu.Unlock()
		}
	}()
	var asked struct {
		Mode     os.FileMode
		Group    string
		Channels *bool
		Gateway  json.Number
		DrainMs  *int
	}
	if len(os.Args) > 3 {
		if err := json.Unmarshal([]byte(os.Args[3]), &asked); err != nil {
			panic(err)
		}
	}
	options := xengate.Options{Directory: os.Args[1], Mode: asked.Mode, Group: asked.Group, Gateway: asked.Gateway.String()}
	options.NoChannels = asked.Channels != nil && !*asked.Channels
	if asked.DrainMs != nil {
		options.DrainTimeout = time.Duration(*asked.DrainMs) * time.Millisecond
	}
	if err := xengate.Serve(os.Args[2], http.HandlerFunc(handler), options); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
