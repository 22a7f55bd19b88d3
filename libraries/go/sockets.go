package xengate

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
)

const channelSuffix = ".channel"

// What the mode of the plain socket says: bodies are read to their end, or the connection is closed, as net/http does.
const readsBodiesMode = 0o1000

var namePattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$`)

func checkName(name string) error {
	if !namePattern.MatchString(name) {
		return fmt.Errorf(`cannot serve as %q: a name is 1 to 100 letters, digits, ".", "_" and "-", and starts with neither "." nor "-"`, name)
	}
	if strings.HasSuffix(name, channelSuffix) {
		return fmt.Errorf("cannot serve as %q: leave out %q, which the second socket is named by", name, channelSuffix)
	}
	return nil
}

// socket is one that the service listens on. Its path is empty when it was given, and its file is somebody else's matter.
type socket struct {
	*net.UnixListener
	path string
	file os.FileInfo
}

// removeFile removes its file, if it is still this socket's.
func (s *socket) removeFile() {
	if s == nil || s.path == "" {
		return
	}
	if found, err := os.Lstat(s.path); err == nil && os.SameFile(found, s.file) {
		os.Remove(s.path)
	}
}

// bothSockets are a service's; either may be nil.
type bothSockets struct {
	plain, channel *socket
}

func bindBoth(name string, options Options) (bothSockets, error) {
	if found, err := os.Stat(options.Directory); err != nil || !found.IsDir() {
		return bothSockets{}, fmt.Errorf("cannot listen in %s: there is no such directory; is the gateway started? Give the directory that it looks in", options.Directory)
	}
	group, err := groupID(options.Group)
	if err != nil {
		return bothSockets{}, err
	}
	path := filepath.Join(options.Directory, name)
	mode := uint32(options.Mode.Perm())
	plain, err := bind(path, mode|readsBodiesMode, group)
	if err != nil || options.NoChannels {
		return bothSockets{plain: plain}, err
	}
	channel, err := bind(path+channelSuffix, mode, group)
	if err != nil {
		plain.removeFile()
		plain.Close()
		return bothSockets{}, err
	}
	return bothSockets{plain, channel}, nil
}

// groupID is -1 for no group.
func groupID(group string) (int, error) {
	if group == "" {
		return -1, nil
	}
	if id, err := strconv.Atoi(group); err == nil && id >= 0 {
		return id, nil
	}
	found, err := user.LookupGroup(group)
	if err != nil {
		return -1, fmt.Errorf("cannot give the sockets to group %q: there is no such group", group)
	}
	return strconv.Atoi(found.Gid)
}

// Who the packages for hosts have the gateway's workers run as.
const defaultGatewayUser = "xengate"

// everybody is no user's id.
const everybody = -1

// gatewayUser is the id of the user whose connections are the gateway's.
func gatewayUser(gateway string) (int, error) {
	if id, err := strconv.Atoi(gateway); err == nil && id >= 0 {
		return id, nil
	}
	name := gateway
	if name == "" {
		name = defaultGatewayUser
	}
	found, err := user.Lookup(name)
	if err == nil {
		return strconv.Atoi(found.Uid)
	} else if gateway == "" {
		return everybody, nil
	}
	return 0, fmt.Errorf("cannot believe the user %q: there is no such user", gateway)
}

// peerUser is the id of the user whose process connected the Unix socket (unix(7)).
func peerUser(conn *net.UnixConn) int {
	id := everybody
	if raw, err := conn.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) {
			if peer, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED); err == nil {
				id = int(peer.Uid)
			}
		})
	}
	return id
}

// bind makes a socket in the place of one that nobody listens on.
func bind(path string, mode uint32, group int) (*socket, error) {
	if len(path) > 107 {
		return nil, fmt.Errorf("cannot listen on %s: the path is longer than 107 bytes", path)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	file := os.NewFile(uintptr(fd), path)
	defer file.Close() // the listener has a copy
	switch err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}); {
	case err == syscall.EADDRINUSE:
		return nil, fmt.Errorf("cannot listen on %s: another program has just taken it", path)
	case err == syscall.EACCES:
		return nil, fmt.Errorf("cannot listen on %s: this user may not write to %s", path, filepath.Dir(path))
	case err != nil:
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	// Nobody can connect before somebody listens, and that comes after mode and group: net.Listen would be too early.
	made, err := listen(fd, file, path, mode, group)
	if err != nil {
		os.Remove(path)
	}
	return made, err
}

func listen(fd int, file *os.File, path string, mode uint32, group int) (*socket, error) {
	if err := syscall.Chmod(path, mode); err != nil {
		return nil, fmt.Errorf("cannot set the mode of %s: %w", path, err)
	}
	if group != -1 {
		if err := os.Chown(path, -1, group); err != nil {
			return nil, fmt.Errorf("cannot set the group of %s: %w", path, err)
		}
	}
	if err := syscall.Listen(fd, listenQueueSize); err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	found, err := os.Lstat(path)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	listener, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	return &socket{listener.(*net.UnixListener), path, found}, nil
}

func removeStale(path string) error {
	found, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	if found.Mode()&os.ModeSocket == 0 {
		return fmt.Errorf("cannot listen on %s: a file that is no socket is there; remove it", path)
	}
	probe, err := net.Dial("unix", path)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return os.Remove(path)
	} else if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err == nil {
		probe.Close()
	}
	// Any other error is somebody's, too: a queue that is full, or a socket that this user may not use.
	return fmt.Errorf("cannot listen on %s: another program is listening there; stop it first, or choose another name", path)
}

// givenSockets takes the sockets that systemd has opened for this process (sd_listen_fds(3)), if there are any. The one for channels is
// told by a FileDescriptorName, or else a path, that ends in ".channel".
func givenSockets() (given bothSockets, isGiven bool, err error) {
	pid, text, names := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	// They are this process's only; a child could take them for its own.
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		os.Unsetenv(name)
	}
	count, err := strconv.Atoi(text)
	if err != nil || count < 1 || pid != strconv.Itoa(os.Getpid()) {
		return bothSockets{}, false, nil
	}
	for index := 0; index < count; index++ {
		file := os.NewFile(uintptr(3+index), "")
		listener, err := net.FileListener(file)
		file.Close() // the listener has a copy, which children do not get
		unix, isUnix := listener.(*net.UnixListener)
		if err != nil || !isUnix {
			return bothSockets{}, false, fmt.Errorf("cannot use what systemd passed: descriptor %d is no Unix socket that listens", 3+index)
		}
		which, place := "plain", &given.plain
		isNamed := index < len(names) && strings.HasSuffix(names[index], channelSuffix)
		if isNamed || strings.HasSuffix(unix.Addr().String(), channelSuffix) {
			which, place = "channel", &given.channel
		}
		if *place != nil {
			return bothSockets{}, false, fmt.Errorf("cannot use what systemd passed: %d sockets, of which more than one is the %s one; "+
				"a service has one ListenStream for its name and one for its name with %q", count, which, channelSuffix)
		}
		*place = &socket{UnixListener: unix}
	}
	return given, true, nil
}
