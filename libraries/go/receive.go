package xengate

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
	"unicode/utf8"
)

// Of the channel protocol.
const (
	protocolVersion  = 1
	offerBytesMax    = 65_536
	receivedBytesMax = 1_048_576
	messageTimeout   = 5 * time.Second
	lingerTimeout    = 2 * time.Second
	descriptorsMax   = 4 // more than the one that is taken, so that others are seen, and closed
)

// offer is what the gateway says of a connection.
type offer struct {
	Channel string
	Service string
	Session struct {
		ID                        string
		User, Subject, Originator *string
		Roles                     []string
	}
	Methods  []string
	Client   struct{ Address, Port json.RawMessage }
	Proto    *string
	Received *int
	Gateway  string
	Greeting string

	address string
	port    int
}

// taken is a channel that has come.
type taken struct {
	client   *os.File
	offer    *offer
	received []byte
}

// The gateway has ended the control connection, and answered the client itself.
var errGivenUp = errors.New("the gateway has given up")

// receive takes the first message of a control connection. The error's text is what the gateway is told.
func receive(control *net.UnixConn) (of *taken, err error) {
	control.SetReadDeadline(time.Now().Add(messageTimeout))
	length := make([]byte, 4)
	count, client, err := receiveDescriptor(control, length)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			client.Close()
		}
	}()
	if err := receiveAll(control, length[count:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(length)
	if size > offerBytesMax {
		return nil, fmt.Errorf("the offer has %d bytes, and %d are the most", size, offerBytesMax)
	}
	text := make([]byte, size)
	if err := receiveAll(control, text); err != nil {
		return nil, err
	}
	made, err := readOffer(text)
	if err != nil {
		return nil, err
	}
	received := make([]byte, *made.Received)
	if err := receiveAll(control, received); err != nil {
		return nil, err
	}
	// The message may have lain there for long.
	if !isQuiet(control) {
		return nil, errGivenUp
	}
	return &taken{client, made, received}, nil
}

// receiveDescriptor reads what comes first, and the one descriptor with it; all of another number are closed.
func receiveDescriptor(control *net.UnixConn, into []byte) (int, *os.File, error) {
	room := make([]byte, syscall.CmsgSpace(descriptorsMax*4))
	count, roomCount, flags, _, err := control.ReadMsgUnix(into, room)
	var descriptors []int
	if messages, err := syscall.ParseSocketControlMessage(room[:roomCount]); err == nil {
		for index := range messages {
			if some, err := syscall.ParseUnixRights(&messages[index]); err == nil {
				descriptors = append(descriptors, some...)
			}
		}
	}
	if err == nil && count > 0 && len(descriptors) == 1 && flags&syscall.MSG_CTRUNC == 0 {
		client, err := streamSocket(descriptors[0])
		return count, client, err
	}
	for _, descriptor := range descriptors {
		syscall.Close(descriptor)
	}
	if err != nil || count == 0 {
		return 0, nil, whyNotWhole(err)
	}
	return 0, nil, fmt.Errorf("%d descriptors came with the first byte, and 1 is taken", len(descriptors))
}

func receiveAll(control *net.UnixConn, into []byte) error {
	if _, err := io.ReadFull(control, into); err != nil {
		return whyNotWhole(err)
	}
	return nil
}

func whyNotWhole(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("the message did not come within %v", messageTimeout)
	}
	return errors.New("the message ended early")
}

// streamSocket is the descriptor as a file. A net.Conn of it would be a copy, for which the connection is made blocking for a moment:
// flags are shared with the gateway.
func streamSocket(descriptor int) (*os.File, error) {
	if kind, err := syscall.GetsockoptInt(descriptor, syscall.SOL_SOCKET, syscall.SO_TYPE); err != nil || kind != syscall.SOCK_STREAM {
		syscall.Close(descriptor)
		return nil, errors.New("the descriptor that came is no stream socket")
	}
	syscall.SetNonblock(descriptor, true)
	syscall.SetsockoptInt(descriptor, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1) // over a Unix socket it means nothing
	return os.NewFile(uintptr(descriptor), "client"), nil
}

func readOffer(text []byte) (*offer, error) {
	var version struct{ Version json.RawMessage }
	if !utf8.Valid(text) || json.Unmarshal(text, &version) != nil {
		return nil, errors.New("the offer is not a JSON object in UTF-8")
	}
	if !bytes.Equal(version.Version, []byte("1")) {
		return nil, fmt.Errorf("this side speaks version %d of the channel protocol", protocolVersion)
	}
	var made offer
	if json.Unmarshal(text, &made) != nil {
		return nil, errors.New("the offer has something of a wrong type")
	}
	session := made.Session
	isWhole := made.Channel != "" && made.Service != "" && made.Gateway != "" && session.ID != "" && session.User != nil &&
		session.Subject != nil && session.Originator != nil && session.Roles != nil && made.Methods != nil && made.Received != nil &&
		json.Unmarshal(made.Client.Address, &made.address) == nil && json.Unmarshal(made.Client.Port, &made.port) == nil
	if !isWhole {
		return nil, errors.New("the offer lacks something")
	}
	if *made.Received < 0 || *made.Received > receivedBytesMax {
		return nil, fmt.Errorf("the offer comes with %d bytes, and %d are the most", *made.Received, receivedBytesMax)
	}
	if made.Proto == nil {
		http := "http"
		made.Proto = &http
	}
	if *made.Proto != "http" && *made.Proto != "https" {
		return nil, errors.New("the offer has something of a wrong type")
	}
	return &made, nil
}

// isQuiet tells whether a connection is open, and nothing has come on it.
func isQuiet(conn syscall.Conn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	isQuiet := false
	raw.Control(func(fd uintptr) {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		isQuiet = err == syscall.EAGAIN
	})
	return isQuiet
}

// refuse tells the gateway why. What it still sends has to be read, or it would see a reset before this.
func refuse(control *net.UnixConn, why string) {
	line, _ := json.Marshal(map[string]string{"refused": why})
	control.SetDeadline(time.Now().Add(lingerTimeout))
	control.Write(append(line, '\n'))
	control.CloseWrite()
	io.Copy(io.Discard, control)
}
