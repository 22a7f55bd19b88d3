package xengate

import (
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// Caller is who asks, as the gateway has established it. Whoever connects to the socket without the gateway is nobody, with an empty
// User and no Roles, unless they write the gateway's fields and are believed (Options.Gateway).
type Caller struct {
	// The name that the user signed in with.
	User string
	// OpaqueRef:<uuid>; OpaqueRef:NULL for root.
	Subject string
	// From the highest.
	Roles []string
	// What the client called itself when it logged in; often empty.
	Originator string
	// For calls of the XenAPI on the caller's behalf; empty when the gateway keeps it back.
	SessionID string
	// Whether the client's own connection was passed to this process.
	Channel bool
	// The query parameter task_id, which is the client's word: a task of the XenAPI that it has made for this request.
	Task string
}

type (
	callerKey   struct{}
	channelKey  struct{}
	strangerKey struct{} // whether somebody else than the gateway has connected, whose word about callers is worth nothing
)

// CallerOf is the caller of a request that Serve or Run has given to a handler.
func CallerOf(r *http.Request) Caller {
	caller, _ := r.Context().Value(callerKey{}).(Caller)
	return caller
}

// callerOf finds out. A request of no channel was relayed by the gateway, which has said it in fields.
func callerOf(channel *channel, r *http.Request) Caller {
	task, _ := parameterIn(r.RequestURI, "task_id")
	if channel != nil {
		session := channel.offer.Session
		return Caller{*session.User, *session.Subject, append([]string{}, session.Roles...), *session.Originator, session.ID, true, task}
	}
	caller := Caller{
		User:       percentDecoded(r.Header.Get(userField)),
		Subject:    percentDecoded(r.Header.Get(subjectField)),
		Roles:      []string{},
		Originator: percentDecoded(r.Header.Get(originatorField)),
		Task:       task,
	}
	if roles := r.Header.Get(rolesField); roles != "" {
		caller.Roles = strings.Split(roles, ", ")
	}
	for _, cookie := range r.Header["Cookie"] {
		if id, isThere := sessionInCookie(cookie); isThere {
			caller.SessionID = id
			return caller
		}
	}
	caller.SessionID, _ = parameterIn(r.RequestURI, "session_id")
	return caller
}

// ── What the gateway and a service have to read alike ────────────────────────────────────────────────────────────────

const (
	userField       = "X-Xen-Session-User"
	subjectField    = "X-Xen-Session-Subject"
	rolesField      = "X-Xen-Session-Roles"
	originatorField = "X-Xen-Session-Originator"
)

// What the gateway alone may write.
var gatewayFields = map[string]bool{
	"x-xen-session-user": true, "x-xen-session-subject": true, "x-xen-session-roles": true, "x-xen-session-originator": true,
	"x-forwarded-for": true, "x-forwarded-proto": true, "x-forwarded-host": true, "x-request-id": true,
}

// With `_` for `-`, CGI takes these and the gateway's for the true ones.
var disguisedFields = map[string]bool{
	"content-length": true, "transfer-encoding": true, "keep-alive": true, "proxy-connection": true, "sec-fetch-site": true,
}

// isGateways tells whether a client may not send the field.
func isGateways(name string) bool {
	name = strings.ToLower(name)
	if !strings.Contains(name, "_") {
		return gatewayFields[name]
	}
	name = strings.ReplaceAll(name, "_", "-")
	return gatewayFields[name] || disguisedFields[name]
}

// sessionInCookie is the session id in the value of a Cookie field.
func sessionInCookie(value string) (string, bool) {
	for _, pair := range strings.Split(value, ";") {
		name, text, _ := strings.Cut(trimmed(pair), "=")
		if name == "session_id" {
			return text, true
		}
	}
	return "", false
}

// trimmed is without the white space that the gateway takes away: that of Latin-1, byte by byte.
func trimmed(text string) string {
	isSpace := func(at int) bool { return strings.IndexByte("\t\n\v\f\r \xa0", text[at]) >= 0 }
	start, end := 0, len(text)
	for start < end && isSpace(start) {
		start++
	}
	for start < end && isSpace(end-1) {
		end--
	}
	return text[start:end]
}

// parameterIn is the first query parameter of that name, percent-decoded.
func parameterIn(target, parameter string) (string, bool) {
	_, query, _ := strings.Cut(target, "?")
	for _, pair := range strings.Split(query, "&") {
		name, text, _ := strings.Cut(pair, "=")
		if percentDecoded(name) == parameter {
			return percentDecoded(text), true
		}
	}
	return "", false
}

// percentDecoded is empty when the text is malformed.
func percentDecoded(text string) string {
	if !strings.Contains(text, "%") {
		return text
	}
	decoded, err := url.PathUnescape(text)
	if err != nil || !utf8.ValidString(decoded) {
		return ""
	}
	return decoded
}

// fieldText is text as the value of a field: everything but visible ASCII and inner spaces percent-encoded, and `%`.
func fieldText(text string) string {
	const digits = "0123456789ABCDEF"
	var encoded strings.Builder
	for at := 0; at < len(text); at++ {
		letter := text[at]
		isInner := letter == ' ' && at > 0 && at < len(text)-1
		if isInner || letter > ' ' && letter < 0x7f && letter != '%' {
			encoded.WriteByte(letter)
		} else {
			encoded.WriteByte('%')
			encoded.WriteByte(digits[letter>>4])
			encoded.WriteByte(digits[letter&15])
		}
	}
	return encoded.String()
}
