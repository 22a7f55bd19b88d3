// Package xengate runs a custom service behind the Xengate gateway.
//
//	xengate.Serve("com.example.hello", handler, xengate.Options{})
//
// It listens where the gateway looks, tells the handler who is asking, and takes clients' own connections from the gateway (channels;
// the protocol is docs/channels.md of Xengate). Linux, Go 1.19 or later, and nothing but the standard library.
//
// Both kinds of connections are served by net/http. A connection that was passed is a clientConn, which shows net/http only the requests
// that are the channel's.
package xengate

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"
)

// Options of a service; the zero value is the usual one.
type Options struct {
	// Where <name> and <name>.channel are made. Default: /var/xapi/plugin. Ignored when systemd passes sockets.
	Directory string
	// Mode of the sockets' files. Default: 0660.
	Mode os.FileMode
	// Group of the sockets' files, by name or id. Default: the process's.
	Group string
	// Who the gateway's workers run as, by name or id: what another says of a caller is not believed. Root is another, too: on a XenServer
	// or XCP-ng host xapi passes on what clients claim. Default: the user xengate, where there is one, else whoever can connect.
	Gateway string
	// Whether the gateway must not pass clients' connections. Ignored when systemd passes sockets.
	NoChannels bool
	// How long requests under way may take at the end. Default: 30 s.
	DrainTimeout time.Duration
	// Is called once clients can connect, and signals are looked after. Default: nothing.
	OnListening func()
	// Is told of handlers that panic, and of what goes wrong outside of any request. Default: lines on standard error.
	ErrorLog *log.Logger
}

const (
	defaultDirectory    = "/var/xapi/plugin"
	defaultMode         = 0o660
	defaultDrainTimeout = 30 * time.Second

	// How long a request's head may take, and how long a passed connection may wait for a request.
	headTimeout = 60 * time.Second
	idleTimeout = 75 * time.Second
	// The gateway's own connections are its to close.
	relayedIdleTimeout = 24 * time.Hour

	headBytesMax      = 1 << 20 // what a gateway takes at most
	rewrittenBytesMax = 2 << 20 // with the gateway's fields in it
	listenQueueSize   = 512
	acceptAgainAfter  = 100 * time.Millisecond
)

// Serve answers requests with handler until SIGTERM or SIGINT, which end the service politely; a second one ends the process at once.
func Serve(name string, handler http.Handler, options Options) error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	s, err := newService(name, handler, options)
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	go func() {
		<-signals
		stop()
		<-signals
		s.removeFiles()
		os.Exit(1)
	}()
	return s.run(ctx)
}

// Run is Serve without signals: it serves until ctx is done, and ends the service politely then.
func Run(ctx context.Context, name string, handler http.Handler, options Options) error {
	s, err := newService(name, handler, options)
	if err != nil {
		return err
	}
	return s.run(ctx)
}

type service struct {
	name     string
	handler  http.Handler
	drain    time.Duration
	errorLog *log.Logger
	started  func()
	sockets  bothSockets
	plain    *http.Server
	passed   *http.Server

	mu         sync.Mutex
	channels   map[*clientConn]struct{}
	isDraining bool
	// Control connections, of channels and of those that may become one.
	open sync.WaitGroup
}

func newService(name string, handler http.Handler, options Options) (*service, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if handler == nil {
		return nil, fmt.Errorf("cannot serve %s: give it a handler", name)
	}
	if options.Directory == "" {
		options.Directory = defaultDirectory
	}
	if options.Mode == 0 {
		options.Mode = defaultMode
	}
	if options.DrainTimeout == 0 {
		options.DrainTimeout = defaultDrainTimeout
	}
	if options.ErrorLog == nil {
		options.ErrorLog = log.New(os.Stderr, "", 0)
	}
	gateway, err := gatewayUser(options.Gateway)
	if err != nil {
		return nil, err
	}
	sockets, isGiven, err := givenSockets()
	if err == nil && !isGiven {
		sockets, err = bindBoth(name, options)
	}
	if err != nil {
		return nil, err
	}
	s := &service{
		name:     name,
		handler:  handler,
		drain:    options.DrainTimeout,
		errorLog: options.ErrorLog,
		started:  options.OnListening,
		sockets:  sockets,
		channels: map[*clientConn]struct{}{},
	}
	s.plain = &http.Server{
		Handler:           s,
		ErrorLog:          options.ErrorLog,
		ReadHeaderTimeout: headTimeout,
		IdleTimeout:       relayedIdleTimeout,
		MaxHeaderBytes:    rewrittenBytesMax,
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, strangerKey{}, gateway != everybody && peerUser(conn.(*net.UnixConn)) != gateway)
		},
	}
	// No timeouts of net/http: clientConn looks after them.
	s.passed = &http.Server{
		Handler:        s,
		ErrorLog:       options.ErrorLog,
		MaxHeaderBytes: rewrittenBytesMax,
		ConnState:      stateChanged,
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, channelKey{}, conn.(*clientConn).channel)
		},
	}
	return s, nil
}

func (s *service) removeFiles() {
	s.sockets.plain.removeFile()
	s.sockets.channel.removeFile()
}

// run serves until ctx is done, and all that is under way is finished, or was cut at the end of the drain timeout.
func (s *service) run(ctx context.Context) error {
	failed := make(chan error, 2)
	if listener := s.sockets.plain; listener != nil {
		go func() { failed <- s.plain.Serve(listener.UnixListener) }()
	}
	connections := &passedConnections{made: make(chan net.Conn), closed: make(chan struct{})}
	go func() { failed <- s.passed.Serve(connections) }()
	if listener := s.sockets.channel; listener != nil {
		go s.acceptChannels(listener, connections)
	}
	if s.started != nil {
		s.started()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	s.stop()
	return err
}

func (s *service) stop() {
	s.removeFiles()
	s.mu.Lock()
	s.isDraining = true
	s.mu.Unlock()
	if s.sockets.channel != nil {
		s.sockets.channel.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.drain)
	defer cancel()
	finished := make(chan struct{})
	go func() {
		s.passed.SetKeepAlivesEnabled(false)
		s.eachChannel((*clientConn).closeIfWaiting)
		s.plain.Shutdown(ctx)
		s.open.Wait()
		close(finished)
	}()
	select {
	case <-finished:
	case <-ctx.Done():
		s.eachChannel((*clientConn).cut)
		s.plain.Close()
	}
	s.passed.Close()
}

func (s *service) eachChannel(call func(*clientConn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.channels {
		call(conn)
	}
}

// passedConnections is the listener of the server for passed connections.
type passedConnections struct {
	made   chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (p *passedConnections) Accept() (net.Conn, error) {
	select {
	case conn := <-p.made:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *passedConnections) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *passedConnections) Addr() net.Addr { return unixAddr }

var unixAddr = &net.UnixAddr{Name: "@", Net: "unix"}

func (s *service) acceptChannels(listener *socket, connections *passedConnections) {
	for {
		control, err := listener.AcceptUnix()
		s.mu.Lock()
		if err == nil {
			s.open.Add(1)
		}
		isDraining := s.isDraining
		s.mu.Unlock()
		if err == nil {
			go s.takeChannel(control, connections)
		} else if isDraining {
			return
		} else {
			s.errorLog.Printf("cannot accept a channel, and tries again: %v", err)
			time.Sleep(acceptAgainAfter)
		}
	}
}

// takeChannel receives a channel, and gives its connection to the server.
func (s *service) takeChannel(control *net.UnixConn, connections *passedConnections) {
	defer s.open.Done()
	defer control.Close()
	taken, err := receive(control)
	if err != nil {
		if err != errGivenUp {
			s.errorLog.Printf("cannot take a channel: %v", err)
			refuse(control, err.Error())
		}
		return
	}
	if taken.offer.Service != s.name {
		taken.client.Close()
		refuse(control, fmt.Sprintf("this is %s, and not %s", s.name, taken.offer.Service))
		return
	}
	conn := newClientConn(newChannel(control, taken.offer, s.errorLog), taken.client, taken.received)
	s.mu.Lock()
	isDraining := s.isDraining
	if !isDraining {
		s.channels[conn] = struct{}{}
	}
	s.mu.Unlock()
	if isDraining {
		taken.client.Close()
		refuse(control, "the service is about to end")
		return
	}
	control.SetReadDeadline(time.Time{})
	if _, err := control.Write([]byte("{\"accepted\":true}\n")); err != nil {
		conn.cut()
	} else {
		select {
		case connections.made <- conn:
		case <-connections.closed:
			conn.cut()
		}
	}
	conn.channel.watch(conn)
	s.mu.Lock()
	delete(s.channels, conn)
	s.mu.Unlock()
}

// ── Requests ─────────────────────────────────────────────────────────────────────────────────────────────────────────

// ServeHTTP calls the handler for a request of either server.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	channel, _ := r.Context().Value(channelKey{}).(*channel)
	if isStranger, _ := r.Context().Value(strangerKey{}).(bool); isStranger {
		for name := range r.Header {
			if isGateways(name) {
				delete(r.Header, name)
			}
		}
	}
	// The server looks at this very request when it is done, so that it is changed in place.
	*r = *r.WithContext(context.WithValue(r.Context(), callerKey{}, callerOf(channel, r)))
	answer := &response{ResponseWriter: w}
	defer func() {
		if failure := recover(); failure != nil {
			s.failed(answer, r, failure)
		}
	}()
	s.handler.ServeHTTP(answer, r)
}

const failedText = "The service failed.\n"

// failed answers for a handler that has panicked. When an answer had begun, the connection is cut, so that no half of it looks whole.
func (s *service) failed(answer *response, r *http.Request, failure any) {
	if failure != http.ErrAbortHandler {
		// Without the query, in which there may be a session id.
		s.errorLog.Printf("cannot answer %s %s: %v\n%s", r.Method, r.URL.EscapedPath(), failure, debug.Stack())
	}
	if answer.isHijacked {
		return
	}
	if answer.hasBegun || failure == http.ErrAbortHandler {
		if channel, isPassed := r.Context().Value(channelKey{}).(*channel); isPassed {
			channel.isReset.Store(true)
		}
		panic(http.ErrAbortHandler)
	}
	for name := range answer.Header() {
		answer.Header().Del(name)
	}
	answer.Header().Set("Content-Type", "text/plain")
	answer.WriteHeader(http.StatusInternalServerError)
	answer.Write([]byte(failedText))
}
