package xengate

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// response is the answer as net/http has it, and knows whether it has begun.
type response struct {
	http.ResponseWriter
	hasBegun   bool
	isHijacked bool
}

func (r *response) WriteHeader(status int) {
	r.hasBegun = r.hasBegun || status >= 200
	r.ResponseWriter.WriteHeader(status)
}

func (r *response) Write(data []byte) (int, error) {
	r.hasBegun = true
	return r.ResponseWriter.Write(data)
}

func (r *response) WriteString(text string) (int, error) {
	r.hasBegun = true
	return io.WriteString(r.ResponseWriter, text)
}

// ReadFrom lets net/http copy files in its own way.
func (r *response) ReadFrom(source io.Reader) (int64, error) {
	r.hasBegun = true
	return r.ResponseWriter.(io.ReaderFrom).ReadFrom(source)
}

func (r *response) Flush() {
	r.hasBegun = true
	r.ResponseWriter.(http.Flusher).Flush()
}

func (r *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := r.ResponseWriter.(http.Hijacker).Hijack()
	r.isHijacked = err == nil
	return conn, buffered, err
}

// Unwrap is for http.ResponseController, from Go 1.20 on.
func (r *response) Unwrap() http.ResponseWriter { return r.ResponseWriter }
