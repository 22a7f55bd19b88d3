// Reads requests with net/http: a line of JSON with bytes (one a character) in, a line with what was read out.
package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
)

type message struct {
	Line  string `json:"line"`
	Body  string `json:"body"`
	Whole bool   `json:"whole"`
}

type reading struct {
	Messages []message `json:"messages"`
}

// Characters of a Go string are UTF-8; each stands for the byte of its number, and the other way around.
func toBytes(text string) string {
	var bytes strings.Builder
	for _, character := range text {
		bytes.WriteByte(byte(character))
	}
	return bytes.String()
}

func toText(bytes string) string {
	characters := make([]rune, 0, len(bytes))
	for index := 0; index < len(bytes); index++ {
		characters = append(characters, rune(bytes[index]))
	}
	return string(characters)
}

func read(text string) reading {
	all := reading{Messages: []message{}}
	reader := bufio.NewReader(strings.NewReader(toBytes(text)))
	for {
		request, err := http.ReadRequest(reader)
		if err != nil {
			return all
		}
		body, err := io.ReadAll(request.Body)
		line := request.Method + " " + request.RequestURI
		all.Messages = append(all.Messages, message{toText(line), toText(string(body)), err == nil})
		if err != nil || request.Close {
			return all
		}
	}
}

func main() {
	lines := bufio.NewReader(os.Stdin)
	output := json.NewEncoder(os.Stdout)
	output.SetEscapeHTML(false)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		var text string
		if json.Unmarshal([]byte(line), &text) != nil || output.Encode(read(text)) != nil {
			os.Exit(1)
		}
	}
}
