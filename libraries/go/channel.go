package xengate

import (
	"encoding/json"
	"fmt"
	"log"
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
	servicesPrefix = "/services/plugin/"
	reportInterval = 5 * time.Second
)

// channel is what is known about a passed connection: the offer, the control connection, and which requests are its own.
type channel struct {
	control  *net.UnixConn
	offer    *offer
	errorLog *log.Logger
	prefix   string
	fields   string // by which the gateway tells of the caller in a relayed request

	nextRequest int
	// A connection to the gateway that is kept for the next request to forward.
	wayBack *net.UnixConn
	// Whether nobody may take for whole what was sent.
	isReset atomic.Bool

	used     usage
	mu       sync.Mutex // of what was told
	told     usageTold
	hasEnded bool
}

// usage is what the service itself has answered, and what that took.
type usage struct{ requests, bytesIn, bytesOut atomic.Int64 }

type usageTold struct {
	Requests int64 `json:"requests"`
	BytesIn  int64 `json:"bytesIn"`
	BytesOut int64 `json:"bytesOut"`
}

func newChannel(control *net.UnixConn, of *offer, errorLog *log.Logger) *channel {
	session := of.Session
	fields := fmt.Sprintf("%s: %s\r\n%s: %s\r\n%s: %s\r\n%s: %s\r\n", userField, fieldText(*session.User), subjectField,
		fieldText(*session.Subject), rolesField, strings.Join(session.Roles, ", "), originatorField, fieldText(*session.Originator))
	if of.address != "" {
		fields += fmt.Sprintf("X-Forwarded-For: %s\r\n", of.address)
	}
	fields += fmt.Sprintf("X-Forwarded-Proto: %s\r\n", *of.Proto)
	return &channel{control: control, offer: of, errorLog: errorLog, prefix: servicesPrefix + of.Service, fields: fields}
}

// admits tells whether the request is this service's to answer, and this session's.
func (c *channel) admits(h *head) bool {
	if !strings.HasPrefix(h.target, c.prefix) || strings.Contains(h.target, "#") {
		return false
	}
	if rest := h.target[len(c.prefix):]; rest != "" && rest[0] != '/' && rest[0] != '?' {
		return false
	}
	if !isAmong(h.method, c.offer.Methods) || httpInDisguise.MatchString(h.upgrade) {
		return false
	}
	id, isInCookie, isCrossSite := "", false, false
	for _, field := range h.fields {
		switch strings.ToLower(field.name) {
		case "cookie":
			if !isInCookie {
				id, isInCookie = sessionInCookie(field.value)
			}
		case "sec-fetch-site":
			isCrossSite = isCrossSite || strings.EqualFold(field.value, "cross-site")
		}
	}
	if isInCookie {
		// A cookie that a page of another site made a browser send proves nothing.
		return id == c.offer.Session.ID && !isCrossSite
	}
	id, _ = parameterIn(h.target, "session_id")
	return id == c.offer.Session.ID
}

// headFor is the request's head without what the client may have forged, and with the gateway's fields.
func (c *channel) headFor(h *head) []byte {
	minor := 1
	if h.isHTTP10 {
		minor = 0
	}
	made := make([]byte, 0, len(h.raw)+len(c.fields)+256)
	made = append(made, fmt.Sprintf("%s %s HTTP/1.%d\r\n", h.method, h.target, minor)...)
	made = appendFields(made, h.fields)
	made = append(made, c.fields...)
	if h.hasHost {
		made = append(made, fmt.Sprintf("X-Forwarded-Host: %s\r\n", h.host)...)
	}
	made = append(made, fmt.Sprintf("X-Request-Id: %s-%d\r\n\r\n", c.offer.Channel, c.nextRequest)...)
	c.nextRequest++
	return made
}

// appendFields appends those that a client may send.
func appendFields(to []byte, fields []field) []byte {
	for _, field := range fields {
		if !isGateways(field.name) {
			to = append(append(append(append(to, field.name...), ": "...), field.value...), "\r\n"...)
		}
	}
	return to
}

// watch tells the gateway of use until the client's connection is done, or the gateway ends the channel.
func (c *channel) watch(conn *clientConn) {
	unused := make([]byte, 256)
	for {
		c.control.SetReadDeadline(time.Now().Add(reportInterval))
		c.mu.Lock()
		hasEnded := c.hasEnded
		c.mu.Unlock()
		if hasEnded {
			return
		}
		// Nothing comes there in this version, but the end.
		if _, err := c.control.Read(unused); err == nil {
			continue
		} else if !os.IsTimeout(err) {
			conn.cut()
			return
		}
		c.report()
	}
}

// end is called once the client's connection is done.
func (c *channel) end() {
	c.report()
	c.mu.Lock()
	c.hasEnded = true
	c.mu.Unlock()
	c.control.Close()
}

// report tells the gateway of use since the last time, which keeps the caller's session alive. What it does not take now, it is told
// later.
func (c *channel) report() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := usageTold{c.used.requests.Load(), c.used.bytesIn.Load(), c.used.bytesOut.Load()}
	if now == c.told || c.hasEnded {
		return
	}
	line, _ := json.Marshal(usageTold{now.Requests - c.told.Requests, now.BytesIn - c.told.BytesIn, now.BytesOut - c.told.BytesOut})
	raw, err := c.control.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) {
		// A line is far smaller than the socket's buffer, and goes out whole or not at all.
		_, err := syscall.SendmsgN(int(fd), append(line, '\n'), nil, nil, syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL)
		if err == nil {
			c.told = now
		}
	})
}

func (c *channel) tell(err error) {
	c.errorLog.Printf("cannot forward a request to %s: %v", c.offer.Gateway, err)
}

// stateChanged is told by the server of passed connections when an answer is out.
func stateChanged(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateIdle:
		conn.(*clientConn).isAnswering.Store(false)
	case http.StateHijacked:
		conn.(*clientConn).isRaw.Store(true)
	}
}
