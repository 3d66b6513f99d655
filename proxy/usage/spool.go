package usage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"mcpgateway/proxy/ledger"
)

// A spool file holds entries that may not be in the ledger yet. It is mapped, so that
// writing to it is writing to memory: what was written is in the file, whatever becomes of
// the process, and nobody waits. Only the end of the host loses it.
//
//	file   = header { record } zeros
//	header = magic, crc32c of what follows, from, to (int64), length of writer (uint8), writer
//	record = length (uint32) > 0, crc32c of the body, body
//	body   = hour, five texts with their lengths, amounts; numbers are varints
//
// from and to are numbers of spool files: a file that has another's numbers in its own has
// its entries, too. A record whose checksum is wrong is where the process ended, and
// nothing comes after it.
const (
	segmentSize  = 256 << 10
	headerSize   = 128
	recordHeader = 8
	magic        = "mcpusage"
	spoolName    = "spool-"
	unfinished   = ".new"

	maxSpare = 2 // files that are ready for what comes
)

func crc(data []byte) uint32 { return crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)) }

// spool makes and keeps files.
type spool struct {
	folder, writer string
	wanted         chan struct{} // has a value when a file may be missing

	mu    sync.Mutex
	spare []*segment
	made  int // files, for their names
}

// segment is one file. Who has it uses it alone.
type segment struct {
	path     string
	data     []byte // mapped; nil: it is only to be read at the next start
	writer   string
	from, to int64
	used     int
}

// open returns what earlier processes left, and makes the first file.
func (s *spool) open() ([]*remnant, error) {
	left, err := s.remnants()
	if err != nil {
		return nil, fmt.Errorf("read what the ledger has not got yet: %w", err)
	}
	if err := s.fill(); err != nil {
		return nil, err
	}
	return left, nil
}

// fill makes sure that there are files ready.
func (s *spool) fill() error {
	for !s.enough() {
		fresh, err := newSegment(s.name(), s.writer)
		if err != nil {
			return fmt.Errorf("make a spool file for the ledger: %w", err)
		}
		s.mu.Lock()
		s.spare = append(s.spare, fresh)
		s.mu.Unlock()
	}
	return nil
}

// name is the path of one file more.
func (s *spool) name() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made++
	return filepath.Join(s.folder, spoolName+s.writer+"-"+strconv.Itoa(s.made))
}

// take returns a file that is ready; nil if there is none.
func (s *spool) take() *segment {
	defer func() {
		select {
		case s.wanted <- struct{}{}:
		default:
		}
	}()
	s.mu.Lock() // nobody holds it for long
	defer s.mu.Unlock()
	if len(s.spare) == 0 {
		return nil
	}
	next := s.spare[len(s.spare)-1]
	s.spare = s.spare[:len(s.spare)-1]
	return next
}

// release takes back files whose entries are in the ledger.
func (s *spool) release(files []*segment) error {
	var errs []error
	for _, file := range files {
		if file.data == nil || s.enough() {
			errs = append(errs, file.remove())
			continue
		}
		s.reuse([]*segment{file})
	}
	return errors.Join(errs...)
}

// mapped reports whether there are files, all of which can be written to.
func mapped(files []*segment) bool {
	return len(files) > 0 && !slices.ContainsFunc(files, func(s *segment) bool { return s.data == nil })
}

// reuse makes files ready again that are mapped. It does not wait.
func (s *spool) reuse(files []*segment) {
	for _, file := range files {
		file.clear()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spare = append(s.spare, files...)
}

func (s *spool) enough() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.spare) >= maxSpare
}

// close removes the files that are ready.
func (s *spool) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, file := range s.spare {
		errs = append(errs, file.remove())
	}
	s.spare = nil
	return errors.Join(errs...)
}

func newSegment(path, writer string) (*segment, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	// Written rather than made long: writing to a page that there is no room for on the disk
	// would be a signal.
	_, err = file.Write(make([]byte, segmentSize))
	var data []byte
	if err == nil {
		data, err = unix.Mmap(int(file.Fd()), 0, segmentSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	return &segment{path: path, writer: writer, data: data}, nil
}

// begin gives the file its numbers.
func (s *segment) begin(from, to int64) {
	s.from, s.to, s.used = from, to, headerSize
	copy(s.data, header(s.writer, from, to))
}

// sum makes the file one that stands for those with the numbers from from on, if their
// entries have room in a half of it.
func (s *segment) sum(entries ledger.Entries, from, to int64) bool {
	s.used = headerSize
	for k, amounts := range entries {
		if s.used > len(s.data)/2 || !s.append(record(nil, k, amounts)) {
			s.clear()
			return false
		}
	}
	used := s.used
	s.begin(from, to) // last: until now it is no spool file
	s.used = used
	return true
}

func header(writer string, from, to int64) []byte {
	body := binary.LittleEndian.AppendUint64(nil, uint64(from))
	body = binary.LittleEndian.AppendUint64(body, uint64(to))
	body = append(append(body, byte(len(writer))), writer...)
	text := binary.LittleEndian.AppendUint32([]byte(magic), crc(body))
	return append(text, body...)
}

// append writes a record, if there is room for it.
func (s *segment) append(record []byte) bool {
	if s.data == nil || s.used+len(record) > len(s.data) {
		return false
	}
	place := s.data[s.used : s.used+len(record)]
	copy(place[4:], record[4:])
	binary.LittleEndian.PutUint32(place, binary.LittleEndian.Uint32(record)) // last: without it there is no record
	s.used += len(record)
	return true
}

// record appends the record of an entry.
func record(to []byte, k ledger.Key, amounts ledger.Amounts) []byte {
	start := len(to)
	to = encode(append(to, make([]byte, recordHeader)...), k, amounts)
	body := to[start+recordHeader:]
	binary.LittleEndian.PutUint32(to[start:], uint32(len(body)))
	binary.LittleEndian.PutUint32(to[start+4:], crc(body))
	return to
}

// clear makes the file as good as new, the header first: without it the rest is nothing.
func (s *segment) clear() {
	clear(s.data[:headerSize])
	clear(s.data[headerSize:s.used])
	s.used = 0
}

func (s *segment) remove() error {
	var err error
	if s.data != nil {
		err = unix.Munmap(s.data)
		s.data = nil
	}
	return errors.Join(err, os.Remove(s.path))
}

func encode(to []byte, k ledger.Key, amounts ledger.Amounts) []byte {
	to = binary.AppendVarint(to, k.Hour)
	for _, text := range []string{k.Project, k.Server, k.Method, k.Tool, k.Identity} {
		to = append(binary.AppendUvarint(to, uint64(len(text))), text...)
	}
	for _, value := range amounts.Values() {
		to = binary.AppendVarint(to, value)
	}
	return to
}

var errBadRecord = errors.New("bad record")

// reader takes a record apart; err is set when there is less than was wanted.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) number() int64 {
	value, n := binary.Varint(r.rest)
	if n <= 0 {
		r.rest, r.err = nil, errBadRecord
		return 0
	}
	r.rest = r.rest[n:]
	return value
}

func (r *reader) text() string {
	length, n := binary.Uvarint(r.rest)
	if n <= 0 || length > uint64(len(r.rest)-n) {
		r.rest, r.err = nil, errBadRecord
		return ""
	}
	text := string(r.rest[n : n+int(length)])
	r.rest = r.rest[n+int(length):]
	return text
}

func decode(body []byte) (k ledger.Key, a ledger.Amounts, err error) {
	r := reader{rest: body}
	k = ledger.Key{Hour: r.number(), Project: r.text(), Server: r.text(), Method: r.text(), Tool: r.text(), Identity: r.text()}
	var values []int64
	for len(r.rest) > 0 {
		values = append(values, r.number())
	}
	return k, ledger.AmountsOf(values), r.err
}

// remnant is a file that an earlier process left.
type remnant struct {
	segment
	entries ledger.Entries
}

// remnants reads what earlier processes left, oldest first, without files whose entries
// are in another one. Those, and what is no spool file, are removed.
func (s *spool) remnants() ([]*remnant, error) {
	all, err := os.ReadDir(s.folder)
	if err != nil {
		return nil, err
	}
	var found []*remnant
	for _, file := range all {
		path := filepath.Join(s.folder, file.Name())
		if !strings.HasPrefix(file.Name(), spoolName) || !file.Type().IsRegular() {
			continue
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		r, ok := parse(content)
		if !ok || strings.HasSuffix(path, unfinished) {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			continue
		}
		r.path = path
		found = append(found, r)
	}
	slices.SortFunc(found, func(a, b *remnant) int {
		if a.writer != b.writer {
			return strings.Compare(a.writer, b.writer)
		}
		return int(max(math.MinInt32, min(math.MaxInt32, a.from-b.from)))
	})
	return found, nil
}

// parse reads a spool file; !ok: it has no entries.
func parse(content []byte) (r *remnant, ok bool) {
	const fixed = len(magic) + 4
	if len(content) < headerSize || string(content[:len(magic)]) != magic {
		return nil, false
	}
	length := fixed + 17 + int(content[fixed+16])
	if length > headerSize || crc(content[fixed:length]) != binary.LittleEndian.Uint32(content[len(magic):]) {
		return nil, false
	}
	r = &remnant{entries: ledger.Entries{}}
	r.from = int64(binary.LittleEndian.Uint64(content[fixed:]))
	r.to = int64(binary.LittleEndian.Uint64(content[fixed+8:]))
	r.writer = string(content[fixed+17 : length])
	for rest := content[headerSize:]; len(rest) > recordHeader; {
		size := binary.LittleEndian.Uint32(rest)
		if size == 0 || uint64(size) > uint64(len(rest)-recordHeader) {
			break
		}
		body := rest[recordHeader : recordHeader+int(size)]
		k, amounts, err := decode(body)
		if err != nil || crc(body) != binary.LittleEndian.Uint32(rest[4:]) {
			break
		}
		r.entries.Add(k, amounts)
		rest = rest[recordHeader+int(size):]
	}
	return r, true
}

// compact writes entries into one file that stands for several.
func (s *spool) compact(entries ledger.Entries, from, to int64) (*segment, error) {
	content := make([]byte, headerSize)
	copy(content, header(s.writer, from, to))
	for k := range maps.Keys(entries) {
		content = record(content, k, entries[k])
	}
	path := s.name()
	// Whole or not at all: only a file with its right name is read.
	err := os.WriteFile(path+unfinished, content, 0o600)
	if err == nil {
		err = os.Rename(path+unfinished, path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a spool file for the ledger: %w", err), os.RemoveAll(path+unfinished))
	}
	return &segment{path: path, writer: s.writer, from: from, to: to}, nil
}
