package logbook

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Settings say where the log is, and how much of it is kept.
type Settings struct {
	File       string        // path of the proxy's log; "": nothing is audited
	MaxSize    int64         // bytes of a file, > 0
	MaxBackups int           // files that are kept beside the one in use; 0: all
	MaxAge     time.Duration // how long they are kept; 0: for ever
	Block      bool          // what can't be recorded must not be done
}

// stamp is the time in a backup's name. Names sort as they came about.
const stamp = "20060102T150405.000000000Z"

// place is the folder of a log, open.
type place struct {
	Settings
	dir        *os.File
	calls, own string // names of the two files in it
}

// OwnFile is where the daemon's records are if the proxy's are in file.
func OwnFile(file string) string {
	ext := filepath.Ext(file)
	return strings.TrimSuffix(file, ext) + "-daemon" + ext
}

// openPlace opens the folder, and makes it if the one above is there. Nobody but
// root, or who runs this, may be able to put files into it.
func openPlace(s Settings) (*place, error) {
	folder := filepath.Dir(s.File)
	if err := os.Mkdir(folder, 0o750); err != nil && !os.IsExist(err) {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	fd, err := unix.Open(folder, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open audit log: folder %s: %w", folder, err)
	}
	p := &place{Settings: s, dir: os.NewFile(uintptr(fd), folder), calls: filepath.Base(s.File), own: filepath.Base(OwnFile(s.File))}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && (!ours(st) || st.Mode&0o022 != 0) {
		err = fmt.Errorf("others may write to it: chown root %s && chmod 0750 %[1]s", folder)
	}
	if err == nil {
		err = p.try()
	}
	if err != nil {
		p.dir.Close()
		return nil, fmt.Errorf("open audit log: folder %s: %w", folder, err)
	}
	return p, nil
}

func ours(st unix.Stat_t) bool { return st.Uid == 0 || int(st.Uid) == os.Geteuid() }

// try opens both files, to know that they can be.
func (p *place) try() error {
	for _, name := range []string{p.calls, p.own} {
		file, err := p.open(name)
		if err != nil {
			return err
		}
		file.Close()
	}
	return nil
}

// Close lets go of the folder.
func (p *place) Close() {
	if p != nil {
		p.dir.Close()
	}
}

// open opens a file of the folder for appending, and makes it if it is not there.
func (p *place) open(name string) (*os.File, error) {
	fd, err := appendOnly(func() (int, error) {
		return unix.Openat(int(p.dir.Fd()), name, unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
	})
	if err != nil {
		return nil, fmt.Errorf("file %s: %w", name, err)
	}
	file := os.NewFile(uintptr(fd), filepath.Join(p.dir.Name(), name))
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && (st.Mode&unix.S_IFMT != unix.S_IFREG || !ours(st) || st.Mode&0o022 != 0 || st.Nlink != 1) {
		err = errors.New("it must be a file of root's that nobody else may write, under one name")
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("file %s: %w", name, err)
	}
	return file, nil
}

// size is how large a file is.
func (p *place) size(name string) (int64, error) {
	var st unix.Stat_t
	err := unix.Fstatat(int(p.dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return st.Size, err
}

// putAside renames a file to what it is called as a backup, and opens a new one.
func (p *place) putAside(name string, now time.Time) (file *os.File, backup string, err error) {
	old, err := p.backups(name)
	if err != nil {
		return nil, "", err
	}
	if len(old) > 0 && !now.After(old[len(old)-1].when) { // the clock was set back
		now = old[len(old)-1].when.Add(1)
	}
	ext := filepath.Ext(name)
	backup = strings.TrimSuffix(name, ext) + "-" + now.UTC().Format(stamp) + ext
	dir := int(p.dir.Fd())
	if err := unix.Renameat2(dir, name, dir, backup, unix.RENAME_NOREPLACE); err != nil {
		return nil, "", fmt.Errorf("rename %s: %w", name, err)
	}
	if file, err = p.open(name); err != nil {
		_ = unix.Renameat2(dir, backup, dir, name, unix.RENAME_NOREPLACE) // as it was
		return nil, "", err
	}
	return file, backup, nil
}

// clear renames what is there already, so that the log begins with empty files. It
// is not deleted, and is no backup of this log.
func (p *place) clear(now time.Time) error {
	for _, name := range []string{p.calls, p.own} {
		old, err := p.backups(name)
		if err != nil {
			return err
		}
		if size, err := p.size(name); err != nil || size > 0 {
			old = append(old, backup{name: name})
		}
		for _, b := range old {
			dir, to := int(p.dir.Fd()), b.name+"."+now.UTC().Format(stamp)
			if err := unix.Renameat2(dir, b.name, dir, to, unix.RENAME_NOREPLACE); err != nil {
				return fmt.Errorf("move what is there already: rename %s: %w", b.name, err)
			}
			slog.Warn("an audit log that is not this gateway's, or not its last one, was there: renamed", "file", b.name, "to", to)
		}
	}
	return nil
}

// backup is a file that was put aside.
type backup struct {
	name string
	when time.Time
}

// backups lists those of a file, the oldest first.
func (p *place) backups(name string) ([]backup, error) {
	if _, err := p.dir.Seek(0, 0); err != nil {
		return nil, err
	}
	names, err := p.dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var found []backup
	for _, other := range names {
		if when, ok := BackupTime(name, other); ok {
			found = append(found, backup{other, when})
		}
	}
	slices.SortFunc(found, func(a, b backup) int { return a.when.Compare(b.when) })
	return found, nil
}

// BackupTime says when the file called other was put aside, if it is a backup of
// the one called name.
func BackupTime(name, other string) (time.Time, bool) {
	ext := filepath.Ext(name)
	rest, ok := strings.CutPrefix(other, strings.TrimSuffix(name, ext)+"-")
	text, isExt := strings.CutSuffix(rest, ext)
	when, err := time.Parse(stamp, text)
	return when, ok && isExt && err == nil && when.Format(stamp) == text
}

// expired lists the backups of a file that need not be kept.
func (p *place) expired(name string, now time.Time) ([]backup, error) {
	all, err := p.backups(name)
	if err != nil {
		return nil, err
	}
	n := 0
	for n < len(all) && (p.MaxBackups > 0 && len(all)-n > p.MaxBackups || p.MaxAge > 0 && now.Sub(all[n].when) > p.MaxAge) {
		n++
	}
	return all[:n], nil
}

func (p *place) remove(name string) error { return unix.Unlinkat(int(p.dir.Fd()), name, 0) }
