package xengate

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// What a channel must not answer goes to the gateway as it came, and the gateway's answer to the client as it comes.

const (
	unreachableText = "The gateway cannot be reached. Try again.\n"
	unreadableText  = "The answer of the gateway cannot be read.\n"
	retryAfter      = "Retry-After: 1\r\n"
)

var (
	errOver         = errors.New("the connection is over")
	errUnreadable   = errors.New("the answer is no HTTP")
	errAnswerBroken = errors.New("the gateway has ended the connection")
)

// forward carries a request to the gateway, and the answer back. nil when the next request is to be read.
func (c *clientConn) forward(h *head) error {
	f := &forwarding{conn: c, head: h, body: h.body}
	// All that follows is the gateway's, too, when the connection may become something else.
	f.isTunnel = h.upgrade != "" && !h.hasBody || h.method == http.MethodConnect
	if f.isTunnel {
		f.body = endless()
	}
	for {
		gateway, isKept := c.gatewayFor(f)
		if gateway == nil {
			return f.fail(http.StatusServiceUnavailable, unreachableText, retryAfter)
		}
		answer := f.exchange(gateway, isKept)
		err := answer.err
		switch {
		case err == nil:
			return f.finish(gateway, answer)
		case f.clientError != nil || c.isCut.Load():
			gateway.Close()
			return errOver
		case f.bodyFault != nil && !answer.hasBegun:
			gateway.Close()
			return c.refuse(f.bodyFault)
		case answer.hasBegun:
			gateway.Close()
			c.channel.isReset.Store(true)
			return errOver
		case errors.Is(err, errUnreadable):
			gateway.Close()
			c.channel.tell(err)
			return f.fail(http.StatusBadGateway, unreadableText, "")
		case !isKept:
			gateway.Close()
			c.channel.tell(err)
			return f.fail(http.StatusServiceUnavailable, unreachableText, retryAfter)
		}
		gateway.Close()
		if h.hasBody || h.method != http.MethodGet && h.method != http.MethodHead {
			// A kept connection has ended: for the client it is as if its own had, and it may try again.
			return errOver
		}
	}
}

// gatewayFor is a connection to the gateway, kept or new; nil when there is none.
func (c *clientConn) gatewayFor(f *forwarding) (gateway *net.UnixConn, isKept bool) {
	gateway, c.channel.wayBack = c.channel.wayBack, nil
	if gateway != nil && isQuiet(gateway) {
		isKept = true
	} else {
		if gateway != nil {
			gateway.Close() // it has ended meanwhile
		}
		made, err := net.DialTimeout("unix", c.channel.offer.Gateway, messageTimeout)
		if err != nil {
			c.channel.tell(err)
			return nil, false
		}
		gateway = made.(*net.UnixConn)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gateway = gateway
	if c.isCut.Load() {
		gateway.Close()
	}
	return gateway, isKept
}

// forwarding is one request on its way to the gateway.
type forwarding struct {
	conn     *clientConn
	head     *head
	body     *framing
	isTunnel bool
	// Whether the gateway has got all of it.
	isSent bool
	// What the client's side failed with.
	clientError error
	bodyFault   *fault
}

// exchange sends the request, and passes the answer on meanwhile.
func (f *forwarding) exchange(gateway *net.UnixConn, isKept bool) *answer {
	first := append([]byte{}, f.head.raw...)
	if !isKept {
		first = append([]byte(f.conn.channel.offer.Greeting), first...)
	}
	sent := make(chan struct{})
	go func() {
		f.send(gateway, first)
		close(sent)
	}()
	answer := &answer{method: f.head.method}
	if f.isTunnel {
		answer.framing, answer.isEndless = endless(), true
	}
	answer.err = answer.passOn(gateway, f.conn.file)
	// The client may still be sending, or the gateway not be reading.
	over := time.Unix(1, 0)
	gateway.SetWriteDeadline(over)
	f.conn.file.SetReadDeadline(over)
	<-sent
	gateway.SetWriteDeadline(time.Time{})
	f.conn.file.SetReadDeadline(time.Time{})
	return answer
}

// send writes the request to the gateway, and looks then whether the client is there still. It ends with what fails, or at a deadline.
func (f *forwarding) send(gateway *net.UnixConn, first []byte) {
	if _, err := gateway.Write(first); err != nil {
		return // the gateway may have answered all the same
	}
	for f.body.state != isDone {
		count, fault := f.body.next(f.conn.unread)
		if fault == nil && count > 0 {
			taken := f.conn.take(count)
			fault = f.body.advance(taken)
			if fault == nil {
				if _, err := gateway.Write(taken); err != nil {
					return
				}
				continue
			}
		}
		if fault != nil {
			f.bodyFault = fault
			gateway.Close()
			return
		}
		if err := f.conn.fill(readBytes); err == io.EOF && f.isTunnel {
			gateway.CloseWrite()
			return
		} else if err != nil {
			f.clientFailed(gateway, err)
			return
		}
	}
	f.isSent = true
	for len(f.conn.unread) < aheadBytes {
		if err := f.conn.fill(headBytes); err == io.EOF {
			return // a client that has only ended its side gets its answer
		} else if err != nil {
			f.clientFailed(gateway, err)
			return
		}
	}
}

func (f *forwarding) clientFailed(gateway *net.UnixConn, err error) {
	if !os.IsTimeout(err) {
		f.clientError = err
		gateway.Close()
	}
}

// finish decides what becomes of both connections when the answer is out.
func (f *forwarding) finish(gateway *net.UnixConn, answer *answer) error {
	c := f.conn
	isKept := answer.isKept && f.head.isKept && f.bodyFault == nil && f.clientError == nil
	switch {
	case !isKept || !f.isSent && f.head.isExpecting:
		gateway.Close()
		c.linger()
		return errOver
	case f.isSent:
		c.channel.wayBack = gateway
		return nil
	}
	// An early answer: the gateway is not to be waited for, but what is left of the body is read.
	gateway.Close()
	return f.skipBody()
}

// fail answers for the gateway.
func (f *forwarding) fail(status int, text, fields string) error {
	isLast := f.isTunnel || !f.head.isKept || f.head.isExpecting
	f.conn.answerPlain(status, text, fields, isLast)
	if isLast {
		f.conn.linger()
		return errOver
	}
	return f.skipBody()
}

func (f *forwarding) skipBody() error {
	for f.body.state != isDone {
		count, fault := f.body.next(f.conn.unread)
		if fault == nil && count > 0 {
			fault = f.body.advance(f.conn.take(count))
		} else if fault == nil && f.conn.fill(readBytes) != nil {
			return errOver
		}
		if fault != nil {
			return errOver
		}
	}
	return nil
}

// answer is the gateway's to one request: interim ones, and the final one to its end.
type answer struct {
	method    string
	framing   *framing // of the final one; nil before its head
	isEndless bool     // whether it ends with the connection
	isKept    bool
	hasBegun  bool
	err       error
}

// passOn copies the answer as it comes.
func (a *answer) passOn(gateway *net.UnixConn, client io.Writer) error {
	unread, room := []byte(nil), make([]byte, readBytes)
	for a.framing == nil || a.framing.state != isDone {
		count, err := a.next(unread)
		if err != nil {
			return err
		}
		if count > 0 {
			a.hasBegun = true
			if _, err := client.Write(unread[:count]); err != nil {
				return err
			}
			unread = unread[count:]
			continue
		}
		read, err := gateway.Read(room)
		if err == io.EOF && a.isEndless {
			return nil
		} else if err != nil {
			return errAnswerBroken
		}
		unread = append(unread, room[:read]...)
	}
	a.isKept = a.isKept && len(unread) == 0
	return nil
}

// next is how many of the bytes at hand are the answer's; 0 when more are needed.
func (a *answer) next(unread []byte) (int, error) {
	if a.framing == nil {
		at := bytes.Index(unread, []byte("\r\n\r\n"))
		if at < 0 && len(unread) <= headBytesMax {
			return 0, nil
		} else if at < 0 || a.readHead(string(unread[:at])) != nil {
			return 0, errUnreadable
		}
		return at + 4, nil
	}
	total := 0
	for a.framing.state != isDone {
		count, fault := a.framing.next(unread[total:])
		if fault == nil && count > 0 {
			fault = a.framing.advance(unread[total : total+count])
			total += count
		}
		if fault != nil {
			return 0, errUnreadable
		} else if count == 0 {
			break
		}
	}
	return total, nil
}

// readHead finds the framing of the final answer; it stays nil when the head is an interim one's.
func (a *answer) readHead(text string) error {
	lines := strings.Split(text, "\r\n")
	start := statusLine.FindStringSubmatch(lines[0])
	if start == nil {
		return errUnreadable
	}
	status, _ := strconv.Atoi(start[2])
	if status < 200 && status != http.StatusSwitchingProtocols {
		return nil
	}
	fields, fault := fieldsIn(lines[1:])
	if fault != nil {
		return errUnreadable
	}
	isHTTP10 := start[1] == "0"
	switch {
	case status == http.StatusSwitchingProtocols || a.method == http.MethodConnect && status < 300:
		a.framing = endless()
	case a.method == http.MethodHead || status == http.StatusNoContent || status == http.StatusNotModified:
		a.framing = sized(0)
	default:
		if a.framing, fault = framingOf(fields, isHTTP10); fault != nil {
			return errUnreadable
		}
	}
	if a.framing == nil {
		a.framing = endless()
	}
	a.isEndless = a.framing.left < 0 && a.framing.state == inData
	a.isKept = !a.isEndless && !isHTTP10 && !isAmong("close", tokensOf(fields, "connection"))
	return nil
}
