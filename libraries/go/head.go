package xengate

import (
	"bytes"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

// Heads and framing (RFC 9112), read in one way or not at all: on a passed connection the client is no gateway.

const (
	fieldsMax         = 2000
	trailersBytesMax  = 65_536
	chunkLineBytesMax = 4096
	lengthMax         = 1<<53 - 1 // beyond it others lose digits
)

// Patterns, for texts in which each byte is a letter.
const (
	token  = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"
	quoted = `"(?:[\t !#-[\]-~\x80-\x{ff}]|\\[\t -~\x80-\x{ff}])*"`
)

// fault is how a message is refused.
type fault struct {
	status int
	why    string
}

func (f *fault) Error() string { return f.why }

type field struct{ name, value string }

var (
	requestLine = regexp.MustCompile("^(" + token + `) ([!-~]+) HTTP/([0-9]\.[0-9])$`)
	statusLine  = regexp.MustCompile(`^HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n\x00]*)?$`)
	// A host and an optional port, as the gateway reads them (RFC 9110 section 7.2).
	hostValue   = regexp.MustCompile(`^(?:(?:[A-Za-z0-9\-._~!$&'()*+,;=%]+|\[[A-Za-z0-9\-._~!$&'()*+,;=%:]+\])(?::[0-9]{0,5})?)?$`)
	lengthValue = regexp.MustCompile(`^0*[0-9]{1,16}$`)
	chunkLine   = regexp.MustCompile(`^0*([0-9A-Fa-f]{1,14})(?:;[ \t]*` + token + `(?:[ \t]*=[ \t]*(?:` + token + `|` + quoted + `))?[ \t]*)*$`)
	// Upgrades that would carry further requests, which the gateway would not see.
	httpInDisguise = regexp.MustCompile(`(?i)(?:^|[\s,])(?:h2c?|http|tls)(?:[\s,/]|$)`)
)

// fieldsIn reads the lines of a head or of trailers.
func fieldsIn(lines []string) ([]field, *fault) {
	if len(lines) > fieldsMax {
		return nil, &fault{http.StatusRequestHeaderFieldsTooLarge, fmt.Sprintf("there are more than %d fields", fieldsMax)}
	}
	fields := make([]field, 0, len(lines))
	for _, line := range lines {
		name, value, isField := strings.Cut(line, ":")
		if !isField || name == "" || !isMade(name, isTokenByte) || !isMade(value, isValueByte) {
			return nil, &fault{http.StatusBadRequest, "a field is malformed"}
		}
		fields = append(fields, field{name, strings.Trim(value, " \t")})
	}
	return fields, nil
}

func isMade(text string, of func(byte) bool) bool {
	for at := 0; at < len(text); at++ {
		if !of(text[at]) {
			return false
		}
	}
	return true
}

func isTokenByte(letter byte) bool {
	return letter >= '0' && letter <= '9' || letter|0x20 >= 'a' && letter|0x20 <= 'z' || strings.IndexByte("!#$%&'*+-.^_`|~", letter) >= 0
}

func isValueByte(letter byte) bool { return letter == '\t' || letter >= ' ' && letter != 0x7f }

// tokensOf are the members of the lists in all fields of that name, in lower case.
func tokensOf(fields []field, name string) []string {
	var tokens []string
	for _, field := range fields {
		if !strings.EqualFold(field.name, name) {
			continue
		}
		for _, token := range strings.Split(field.value, ",") {
			if token = strings.Trim(token, " \t"); token != "" {
				tokens = append(tokens, strings.ToLower(token))
			}
		}
	}
	return tokens
}

func isAmong(text string, texts []string) bool {
	for _, one := range texts {
		if one == text {
			return true
		}
	}
	return false
}

// framingOf is the framing of a message by its fields; nil when they say nothing.
func framingOf(fields []field, isHTTP10 bool) (*framing, *fault) {
	var lengths, codings []string
	for _, field := range fields {
		switch strings.ToLower(field.name) {
		case "content-length":
			lengths = append(lengths, field.value)
		case "transfer-encoding":
			codings = append(codings, field.value)
		}
	}
	switch {
	case len(codings) > 0 && (len(lengths) > 0 || isHTTP10):
		return nil, &fault{http.StatusBadRequest, "Transfer-Encoding is not expected here"}
	case len(codings) > 1 || len(codings) == 1 && !strings.EqualFold(codings[0], "chunked"):
		return nil, &fault{http.StatusNotImplemented, "the transfer coding is not known"}
	case len(codings) == 1:
		return &framing{state: inSize, isChunked: true}, nil
	case len(lengths) == 0:
		return nil, nil
	}
	length, err := strconv.ParseInt(lengths[0], 10, 64)
	if len(lengths) > 1 || !lengthValue.MatchString(lengths[0]) || err != nil || length > lengthMax {
		return nil, &fault{http.StatusBadRequest, "Content-Length is malformed"}
	}
	return sized(length), nil
}

// framing tells step by step where a body ends.
//
//	state     the next bytes are                             then
//	inSize     the line of a chunk's size                     inData, or inTrailers after a size of 0
//	inData     payload, `left` of it (-1: all that comes)     isDone, or after a chunk inDataEnd
//	inDataEnd  CR LF                                          inSize
//	inTrailers field lines up to an empty one                 isDone
//	isDone     of the next message
type framing struct {
	state     framingState
	left      int64
	isChunked bool
	looked    int
}

type framingState int

const (
	isDone framingState = iota
	inSize
	inData
	inDataEnd
	inTrailers
)

func sized(length int64) *framing {
	if length == 0 {
		return &framing{state: isDone}
	}
	return &framing{state: inData, left: length}
}

func endless() *framing { return &framing{state: inData, left: -1} }

// next is how many of the bytes at hand come next; 0 when more are needed.
func (f *framing) next(unread []byte) (int, *fault) {
	switch f.state {
	case inData:
		if f.left >= 0 && f.left < int64(len(unread)) {
			return int(f.left), nil
		}
		return len(unread), nil
	case inDataEnd:
		if !bytes.HasPrefix([]byte("\r\n"), unread[:min(2, len(unread))]) {
			return 0, &fault{http.StatusBadRequest, "a chunk is longer than its size"}
		}
		if len(unread) < 2 {
			return 0, nil
		}
		return 2, nil
	case inSize:
		return f.line(unread, "\r\n", chunkLineBytesMax)
	case inTrailers:
		if bytes.HasPrefix(unread, []byte("\r\n")) {
			return 2, nil
		}
		return f.line(unread, "\r\n\r\n", trailersBytesMax)
	}
	return 0, nil
}

func (f *framing) line(unread []byte, end string, limit int) (int, *fault) {
	from := max(0, f.looked-3)
	at := bytes.Index(unread[from:min(limit, len(unread))], []byte(end))
	if at >= 0 {
		f.looked = 0
		return from + at + len(end), nil
	}
	f.looked = min(limit, len(unread))
	if len(unread) >= limit {
		return 0, &fault{http.StatusBadRequest, "the framing of a body is too long"}
	}
	return 0, nil
}

// advance is told that the bytes `taken`, or so many of them as `next` said, are done with.
func (f *framing) advance(taken []byte) *fault {
	switch f.state {
	case inData:
		if f.left < 0 {
			return nil
		}
		if f.left -= int64(len(taken)); f.left > 0 {
			return nil
		}
		f.state = isDone
		if f.isChunked {
			f.state = inDataEnd
		}
	case inDataEnd:
		f.state = inSize
	case inSize:
		size := chunkLine.FindSubmatch(latin1(taken[:len(taken)-2]))
		if size == nil {
			return &fault{http.StatusBadRequest, "the size of a chunk is malformed"}
		}
		if f.left, _ = strconv.ParseInt(string(size[1]), 16, 64); f.left > lengthMax {
			return &fault{http.StatusBadRequest, "the size of a chunk is malformed"}
		}
		f.state = inData
		if f.left == 0 {
			f.state = inTrailers
		}
	case inTrailers:
		f.state = isDone
		if len(taken) > 2 {
			_, fault := fieldsIn(strings.Split(string(taken[:len(taken)-4]), "\r\n"))
			return fault
		}
	}
	return nil
}

// latin1 is text of which regular expressions see each byte as a letter.
func latin1(text []byte) []byte {
	letters := make([]rune, len(text))
	for at, letter := range text {
		letters[at] = rune(letter)
	}
	return []byte(string(letters))
}

func min(a, b int) int {
	if a < b {
		return a
	}
	return b
}

func max(a, b int) int {
	if a > b {
		return a
	}
	return b
}

// head is a request's.
type head struct {
	raw            []byte
	method, target string
	isHTTP10       bool
	fields         []field
	host           string
	hasHost        bool
	body           *framing
	hasBody        bool
	isKept         bool
	isExpecting    bool
	upgrade        string
}

func parseHead(raw []byte) (*head, *fault) {
	lines := strings.Split(string(raw[:len(raw)-4]), "\r\n")
	start := requestLine.FindStringSubmatch(lines[0])
	if start == nil {
		return nil, &fault{http.StatusBadRequest, "the request line is malformed"}
	}
	if start[3] != "1.1" && start[3] != "1.0" {
		return nil, &fault{http.StatusHTTPVersionNotSupported, "this is HTTP/1.1"}
	}
	h := &head{raw: raw, method: start[1], target: start[2], isHTTP10: start[3] == "1.0"}
	var refused *fault
	if h.fields, refused = fieldsIn(lines[1:]); refused != nil {
		return nil, refused
	}
	if refused = h.look(); refused != nil {
		return nil, refused
	}
	if h.body, refused = framingOf(h.fields, h.isHTTP10); refused != nil {
		return nil, refused
	}
	if h.body == nil {
		h.body = sized(0)
	}
	h.hasBody = h.body.state != isDone
	return h, nil
}

// look reads what the fields say beside the framing.
func (h *head) look() *fault {
	hosts, expectations, isKnown := 0, 0, true
	for _, field := range h.fields {
		switch strings.ToLower(field.name) {
		case "host":
			hosts++
			h.host, h.hasHost = field.value, true
		case "expect":
			expectations++
			isKnown = isKnown && strings.EqualFold(field.value, "100-continue")
		}
	}
	if hosts > 1 || hosts == 0 && !h.isHTTP10 || !hostValue.MatchString(h.host) {
		return &fault{http.StatusBadRequest, "there is to be one Host, and a host"}
	}
	options := tokensOf(h.fields, "connection")
	for _, name := range []string{"content-length", "transfer-encoding", "host"} {
		if isAmong(name, options) {
			return &fault{http.StatusBadRequest, "Connection names what is no option"}
		}
	}
	h.isKept = !isAmong("close", options) && (!h.isHTTP10 || isAmong("keep-alive", options))
	if !h.isHTTP10 && (expectations > 1 || !isKnown) {
		return &fault{http.StatusExpectationFailed, "only one 100-continue can be expected"}
	}
	h.isExpecting = !h.isHTTP10 && expectations == 1
	h.upgrade = strings.Join(tokensOf(h.fields, "upgrade"), ", ")
	return nil
}
