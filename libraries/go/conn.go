package xengate

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	headBytes  = 4096 // of which a head seldom has more
	readBytes  = 65_536
	aheadBytes = 262_144 // that are read of a client before they are wanted, to see whether it is there still
)

// clientConn is a client's connection that the gateway has passed, as net/http sees it: each request of the channel's own, whole and
// alone, with the gateway's fields in its head. What it must not answer is forwarded between two of them.
//
//	state        net/http                       Read
//	waiting      wants a request                takes heads: refuses, forwards, or hands one over   -> answering
//	answering    has one, or its answer         gives the body, then nothing                        -> waiting: stateChanged
//	raw          has given it to the handler    gives what comes
//
// Reads come one after another: of the server's, of a handler, or of the server while a handler runs, which then only looks whether the
// client is there. Only Close, CloseWrite, cut and the deadlines may be called beside them.
type clientConn struct {
	file    *os.File
	channel *channel
	// What came and is not used.
	unread []byte
	looked int
	// What net/http is still to be given before the rest of the body.
	pending     []byte
	body        *framing
	bodyFault   *fault
	isAnswering atomic.Bool
	isRaw       atomic.Bool
	// Whether it has been ended for whoever uses it.
	isCut atomic.Bool
	// What the client's side has ended with.
	readError error
	// Whether nothing more is read as a request.
	isOver bool

	mu           sync.Mutex
	interrupted  chan struct{}
	gateway      *net.UnixConn // with which a request is
	isWaiting    bool
	isForwarding bool
	wantsClose   bool
	isClosed     bool
}

func newClientConn(channel *channel, file *os.File, received []byte) *clientConn {
	return &clientConn{file: file, channel: channel, unread: received, body: sized(0), interrupted: make(chan struct{})}
}

func (c *clientConn) Read(into []byte) (int, error) {
	for {
		switch {
		case len(c.pending) > 0:
			count := copy(into, c.pending)
			c.pending = c.pending[count:]
			return count, nil
		case c.body.state == inData && len(c.unread) == 0:
			return c.readData(into)
		case c.body.state != isDone:
			if err := c.readBody(len(into)); err != nil {
				return 0, err
			}
		case c.isRaw.Load():
			return c.readRaw(into)
		case c.isAnswering.Load():
			return 0, c.waitForAnswer()
		case c.isOver:
			return 0, io.EOF
		default:
			// The server may ask again after an error.
			c.isOver = c.nextRequest() != nil
		}
	}
}

// readData reads what can only be payload, without a copy.
func (c *clientConn) readData(into []byte) (int, error) {
	if c.readError != nil {
		return 0, c.bodyError(c.readError)
	}
	if int64(len(into)) > c.body.left {
		into = into[:c.body.left]
	}
	count, err := c.file.Read(into)
	c.channel.used.bytesIn.Add(int64(count))
	c.body.advance(into[:count])
	return count, c.bodyError(c.noted(err))
}

// bodyError is what the server is told when a body cannot be read on: its end is no end.
func (c *clientConn) bodyError(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// readBody makes the next bytes of the body pending: at most `most`, or a piece of its framing.
func (c *clientConn) readBody(most int) error {
	for c.bodyFault == nil {
		count, fault := c.body.next(c.unread)
		if fault == nil && count > 0 {
			state := c.body.state
			if state == inData {
				count = min(count, most)
			}
			taken := c.take(count)
			c.channel.used.bytesIn.Add(int64(count))
			if fault = c.body.advance(taken); fault == nil {
				c.pending = taken
				if state == inSize {
					// As net/http reads it: it takes fewer digits, and has no use for extensions.
					c.pending = []byte(fmt.Sprintf("%x\r\n", c.body.left))
				} else if state == inTrailers && count > 2 {
					c.pending = trailersFor(taken)
				}
				return nil
			}
		}
		c.bodyFault = fault
		if fault == nil {
			if err := c.fill(readBytes); err != nil {
				return c.bodyError(err)
			}
		}
	}
	return c.bodyFault
}

// trailersFor are the trailers without the gateway's fields.
func trailersFor(raw []byte) []byte {
	fields, _ := fieldsIn(strings.Split(string(raw[:len(raw)-4]), "\r\n"))
	return append(appendFields(nil, fields), "\r\n"...)
}

func (c *clientConn) readRaw(into []byte) (int, error) {
	count := copy(into, c.unread)
	c.unread = c.unread[count:]
	var err error
	if count == 0 {
		count, err = c.file.Read(into)
	}
	c.channel.used.bytesIn.Add(int64(count))
	return count, err
}

// waitForAnswer ends with the deadline by which the server interrupts it, and sooner when the client has gone. A client that has only
// ended its side gets its answer.
func (c *clientConn) waitForAnswer() error {
	for len(c.unread) < aheadBytes {
		if err := c.fill(headBytes); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
	}
	c.mu.Lock()
	interrupted := c.interrupted
	c.mu.Unlock()
	<-interrupted
	if c.isCut.Load() {
		return net.ErrClosed
	}
	return os.ErrDeadlineExceeded
}

// nextRequest takes a head: hands it over, or forwards or refuses the request. io.EOF when the connection is done.
func (c *clientConn) nextRequest() error {
	raw, err := c.takeHead()
	if refused, isFault := err.(*fault); isFault {
		return c.refuse(refused)
	} else if err != nil {
		return err
	}
	h, refused := parseHead(raw)
	if refused != nil {
		return c.refuse(refused)
	}
	if !c.channel.admits(h) {
		return c.forwardNext(h)
	}
	c.channel.used.requests.Add(1)
	c.channel.used.bytesIn.Add(int64(len(raw)))
	c.pending = c.channel.headFor(h)
	c.body = h.body
	c.isAnswering.Store(true)
	return nil
}

// forwardNext forwards a request. To the server the connection is idle meanwhile: an end that it asks for waits.
func (c *clientConn) forwardNext(h *head) error {
	c.mu.Lock()
	c.isForwarding = true
	c.mu.Unlock()
	err := c.forward(h)
	c.mu.Lock()
	c.isForwarding = false
	wantsClose := c.wantsClose
	c.mu.Unlock()
	if err != nil || wantsClose {
		return io.EOF
	}
	return nil
}

// takeHead waits for a request's head.
func (c *clientConn) takeHead() ([]byte, error) {
	defer c.wait(false, 0)
	isBegun := false
	hasSkipped := false
	c.wait(len(c.unread) == 0, idleTimeout)
	for {
		if !hasSkipped && bytes.HasPrefix(c.unread, []byte("\r\n")) {
			c.unread = c.unread[2:] // one empty line (RFC 9112, section 2.2)
			hasSkipped = true
		}
		from := max(0, c.looked-3)
		if from > len(c.unread) {
			from = 0
		}
		at := bytes.Index(c.unread[from:], []byte("\r\n\r\n"))
		if at >= 0 && from+at+4 <= headBytesMax {
			c.looked = 0
			return c.take(from + at + 4), nil
		}
		if at >= 0 || len(c.unread) > headBytesMax {
			return nil, &fault{http.StatusRequestHeaderFieldsTooLarge, fmt.Sprintf("the head is longer than %d bytes", headBytesMax)}
		}
		c.looked = len(c.unread)
		if !isBegun && len(c.unread) > 0 {
			isBegun = true
			c.wait(false, headTimeout)
		}
		if c.fill(headBytes) != nil {
			return nil, io.EOF
		}
	}
}

// wait notes whether the connection waits for a request, and until when.
func (c *clientConn) wait(isWaiting bool, timeout time.Duration) {
	c.mu.Lock()
	c.isWaiting = isWaiting
	c.mu.Unlock()
	var deadline time.Time
	if timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	c.file.SetReadDeadline(deadline)
}

// fill reads more, up to about so many bytes. The client's end is told every time.
func (c *clientConn) fill(most int) error {
	if c.readError != nil {
		return c.readError
	}
	if cap(c.unread)-len(c.unread) < most/8 {
		roomier := make([]byte, len(c.unread), 2*len(c.unread)+most)
		copy(roomier, c.unread)
		c.unread = roomier
	}
	count, err := c.file.Read(c.unread[len(c.unread):cap(c.unread)])
	c.unread = c.unread[:len(c.unread)+count]
	return c.noted(err)
}

// noted is an error of a read as the server knows it; one that lasts is kept.
func (c *clientConn) noted(err error) error {
	switch {
	case c.isCut.Load():
		c.readError = net.ErrClosed
	case os.IsTimeout(err):
		return os.ErrDeadlineExceeded
	case err != nil:
		c.readError = err
	}
	return c.readError
}

func (c *clientConn) take(count int) []byte {
	taken := c.unread[:count:count]
	c.unread = c.unread[count:]
	return taken
}

// refuse answers a request that cannot be read, and all that follows it.
func (c *clientConn) refuse(refused *fault) error {
	c.answerPlain(refused.status, refused.why+"\n", "", true)
	c.linger()
	return io.EOF
}

// answerPlain answers without a handler.
func (c *clientConn) answerPlain(status int, text, fields string, isLast bool) {
	if isLast {
		fields += "Connection: close\r\n"
	}
	fmt.Fprintf(c.file, "HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n%s\r\n%s",
		status, http.StatusText(status), len(text), fields, text)
}

// linger ends this side, and drops what the client still sends, so that no reset overtakes the answer.
func (c *clientConn) linger() {
	c.CloseWrite()
	c.file.SetReadDeadline(time.Now().Add(lingerTimeout))
	io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c.file}, make([]byte, readBytes))
}

func (c *clientConn) Write(data []byte) (int, error) {
	count, err := c.file.Write(data)
	c.channel.used.bytesOut.Add(int64(count))
	return count, err
}

func (c *clientConn) shutdown(how int) error {
	raw, err := c.file.SyscallConn()
	if err != nil {
		return err
	}
	raw.Control(func(fd uintptr) { err = syscall.Shutdown(int(fd), how) })
	return err
}

func (c *clientConn) CloseWrite() error { return c.shutdown(syscall.SHUT_WR) }

// Close is called by the server and by handlers that have taken the connection.
func (c *clientConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isForwarding {
		c.wantsClose = true
		return nil
	}
	if c.isClosed {
		return net.ErrClosed
	}
	c.isClosed = true
	c.interrupt()
	if c.gateway != nil {
		c.gateway.Close()
	}
	// After the last answer, the client may still be sending.
	if c.isAnswering.Load() && !c.isRaw.Load() && !c.channel.isReset.Load() {
		go func() {
			c.linger()
			c.end()
		}()
	} else {
		c.end()
	}
	return nil
}

func (c *clientConn) end() {
	if c.channel.isReset.Load() {
		c.reset()
	}
	c.file.Close()
	c.channel.end()
}

// reset has the connection end so that nobody takes for whole what was sent.
func (c *clientConn) reset() {
	if raw, err := c.file.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) {
			syscall.SetsockoptLinger(int(fd), syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
		})
	}
}

// cut ends the connection for whoever uses it: the server closes it then.
func (c *clientConn) cut() {
	c.isCut.Store(true)
	c.shutdown(syscall.SHUT_RDWR)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.interrupt()
	if c.gateway != nil {
		c.gateway.Close()
	}
}

// closeIfWaiting ends a connection that waits for a request.
func (c *clientConn) closeIfWaiting() {
	c.mu.Lock()
	isWaiting := c.isWaiting
	c.mu.Unlock()
	if isWaiting {
		c.cut()
	}
}

// interrupt ends waitForAnswer. The lock is held.
func (c *clientConn) interrupt() {
	select {
	case <-c.interrupted:
	default:
		close(c.interrupted)
	}
}

// SetReadDeadline is how the server interrupts a read, too: by a time that is over.
func (c *clientConn) SetReadDeadline(at time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !at.IsZero() && at.Before(time.Now()) {
		c.interrupt()
	} else {
		select {
		case <-c.interrupted:
			c.interrupted = make(chan struct{})
		default:
		}
	}
	return c.file.SetReadDeadline(at)
}

func (c *clientConn) SetWriteDeadline(at time.Time) error { return c.file.SetWriteDeadline(at) }

func (c *clientConn) SetDeadline(at time.Time) error {
	c.SetWriteDeadline(at)
	return c.SetReadDeadline(at)
}

func (c *clientConn) LocalAddr() net.Addr { return unixAddr }

// RemoteAddr is the client's.
func (c *clientConn) RemoteAddr() net.Addr {
	if ip := net.ParseIP(c.channel.offer.address); ip != nil {
		return &net.TCPAddr{IP: ip, Port: c.channel.offer.port}
	}
	return unixAddr
}
