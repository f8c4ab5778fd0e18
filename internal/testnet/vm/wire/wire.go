// Package wire is what a virtual machine and its host agree on: the task that
// lies in the machine's first file system, and the one stream that the machine
// sends back. Everything is on that stream, so that its last frame says that all
// before it has arrived.
package wire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Where things lie in the machine.
const (
	TaskPath  = "/task.json"
	IndexPath = "/lib/modules/index.json"
)

// Task is what the machine has to do, once.
type Task struct {
	Load    []string      `json:"load"`    // files of kernel modules, in this order
	Program string        `json:"program"` // path of what to run
	Args    []string      `json:"args"`    // without the program's name
	Env     []string      `json:"env"`     // all of it
	Dir     string        `json:"dir"`
	Limit   time.Duration `json:"limit"` // on the machine's clock
}

// End is how it ended.
type End struct {
	Exit    int           `json:"exit"`    // 128 + N if signal N ended it
	Limit   bool          `json:"limit"`   // it took longer than the limit, and was ended
	Trouble string        `json:"trouble"` // why it could not be started; "" if it was
	Boot    time.Duration `json:"boot"`    // from the machine's start to the program's, on the machine's clock
	Took    time.Duration `json:"took"`    // from the program's start to its end, on the machine's clock
}

// Kind says what a frame carries.
type Kind byte

// Kinds of frames.
const (
	Stdout   Kind = 'o'
	Stderr   Kind = 'e'
	Started  Kind = 's' // empty: the program starts now
	Finished Kind = 'x' // an [End]; the last frame
)

// MaxFrame is how many bytes a frame carries at most.
const MaxFrame = 32 << 10

const headLen = 5

// ErrForeign says that a stream is not of this kind.
var ErrForeign = errors.New("wire: this is no frame of a virtual machine")

// Append appends a frame to b. The payload is at most [MaxFrame] bytes.
func Append(b []byte, k Kind, payload []byte) []byte {
	b = append(b, byte(k))
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload)))
	return append(b, payload...)
}

// Read reads the next frame; the payload is in buf, if it is large enough. At the
// end of the stream the error is io.EOF, within a frame io.ErrUnexpectedEOF.
func Read(r io.Reader, buf []byte) (Kind, []byte, error) {
	var head [headLen]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	k, n := Kind(head[0]), binary.BigEndian.Uint32(head[1:])
	if n > MaxFrame || k != Stdout && k != Stderr && k != Started && k != Finished {
		return 0, nil, fmt.Errorf("%w: it starts with %q", ErrForeign, head)
	}
	if int(n) > cap(buf) {
		buf = make([]byte, n)
	}
	if _, err := io.ReadFull(r, buf[:n]); err != nil {
		return 0, nil, errors.Join(io.ErrUnexpectedEOF, err)
	}
	return k, buf[:n], nil
}

// AppendEnd appends the last frame to b.
func AppendEnd(b []byte, e End) ([]byte, error) {
	const room = MaxFrame / 8 // a byte may take six in JSON
	if len(e.Trouble) > room {
		e.Trouble = e.Trouble[:room]
	}
	text, err := json.Marshal(e)
	if err != nil {
		return b, err
	}
	return Append(b, Finished, text), nil
}

// ParseEnd reads the payload of the last frame.
func ParseEnd(payload []byte) (e End, err error) {
	if err := json.Unmarshal(payload, &e); err != nil {
		return e, fmt.Errorf("%w: the last one is %q: %w", ErrForeign, payload, err)
	}
	return e, nil
}
