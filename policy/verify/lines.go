package verify

import (
	"bufio"
	"errors"
	"io"
	"os"
)

// maxLine is the longest line of a log that can be a record.
const maxLine = 1 << 20

// eachLine calls each for the lines of a file, without their ends. A line that is
// too long comes cut. ended is false for a last one that has no end.
func eachLine(path string, tell func(bytes int), each func(n int, text []byte, ended bool)) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return readLines(counted{file, tell}, each)
}

// counted tells how much was read; nobody if tell is nil.
type counted struct {
	io.Reader
	tell func(bytes int)
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if c.tell != nil {
		c.tell(n)
	}
	return n, err
}

func readLines(from io.Reader, each func(n int, text []byte, ended bool)) error {
	in := bufio.NewReaderSize(from, 64<<10)
	var line []byte
	for n := 1; ; {
		part, err := in.ReadSlice('\n')
		if len(line) <= maxLine {
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF):
			if len(line) > 0 {
				each(n, line, false)
			}
			return nil
		case err != nil:
			return err
		}
		if part[len(part)-1] == '\n' && line[len(line)-1] == '\n' {
			line = line[:len(line)-1]
		}
		each(n, line, true)
		line, n = line[:0], n+1
	}
}
