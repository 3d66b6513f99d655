package inspect

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// checkIDs looks at whom the processes are, on the host and inside.
func (a *audit) checkIDs() {
	const section = "ids"
	for _, name := range []string{"uid_map", "gid_map"} {
		want := fmt.Sprintf("0 %d %d", a.base(), a.Profile.Namespaces.IDs)
		content, err := os.ReadFile(a.path(a.PID, name))
		a.expect(fact{section, name, want, name, 5}, strings.Join(strings.Fields(string(content)), " "), err)
	}
	for _, f := range []struct {
		field string
		id    int
	}{{"Uid", a.UID}, {"Gid", a.base() + insideGID}} {
		want := strconv.Itoa(f.id)
		a.every(fact{section, strings.ToLower(f.field) + " of each process", want, "status", 5}, func(p process) []string { return p.ids(f.field) },
			func(v string) bool { return v == want })
	}
	a.every(fact{section, "other groups", "none", "status", 3}, func(p process) []string { return p.all("Groups") }, func(v string) bool { return v == "" })

	a.expect(fact{section, "range shared with", "no other sandbox", "/proc/*/uid_map", 5}, cmp.Or(strings.Join(a.sharers(), ", "), "no other sandbox"), nil)
	const people = 100_000 // ids below are those of people and services
	a.judge(fact{section, "range starts above", strconv.Itoa(people), "uid_map", 5}, strconv.Itoa(a.base()), a.base() > people, nil)
}

// ids are the real, effective, saved and file system ids of every thread.
func (p process) ids(field string) []string {
	var ids []string
	for _, line := range p.all(field) {
		ids = append(ids, strings.Fields(line)...)
	}
	return ids
}

// sharers are the other sandboxes with an id of this one.
func (a *audit) sharers() []string {
	var found []string
	for _, pid := range a.Others {
		content, err := os.ReadFile(a.path(pid, "uid_map"))
		if vanished(err) {
			continue
		}
		first, count, mapErr := parseIDMap(string(content))
		switch err := errors.Join(err, mapErr); {
		case err != nil:
			found = append(found, fmt.Sprintf("perhaps process %d: %v", pid, err))
		case first < a.base()+a.Profile.Namespaces.IDs && a.base() < first+count:
			found = append(found, fmt.Sprintf("process %d (%d and %d more)", pid, first, count-1))
		}
	}
	return found
}

// parseIDMap reads a map of ids with one line (user_namespaces(7)): its first id
// on the host, and how many there are.
func parseIDMap(text string) (first, count int, err error) {
	fields := strings.Fields(text)
	if len(fields) != 3 {
		return 0, 0, fmt.Errorf("it maps %d ranges of ids, want one", len(fields)/3)
	}
	first, err = strconv.Atoi(fields[1])
	if err == nil {
		count, err = strconv.Atoi(fields[2])
	}
	return first, count, err
}

// checkPrivileges looks at what the processes could do beside what their ids may.
func (a *audit) checkPrivileges() {
	const section = "privileges"
	for _, set := range []struct{ field, name string }{
		{"CapInh", "inheritable capabilities"}, {"CapPrm", "permitted capabilities"}, {"CapEff", "effective capabilities"},
		{"CapBnd", "bounding set"}, {"CapAmb", "ambient capabilities"},
	} {
		a.everyThread(fact{section, set.name, "0000000000000000", "status", 5}, set.field)
	}
	a.everyThread(fact{section, "no new privileges", "1", "status", 5}, "NoNewPrivs")
	a.everyThread(fact{section, "traced by process", "0", "status", 2}, "TracerPid")

	notProtected := func(v string) bool { n, err := strconv.Atoi(v); return err == nil && n >= 0 }
	a.every(fact{section, "spared when memory is short", "0 or more", "oom_score_adj", 1}, func(p process) []string { return []string{p.oom} }, notProtected)

	// A process whose files are its own can be traced and read by its equals.
	a.judge(fact{section, "first process's files belong to", "not the server", "status", 3}, strconv.Itoa(a.first.owner), a.first.owner != a.UID, a.first.err)

	daemon, err := readTrimmed(filepath.Join(a.proc, a.first.parent(), "loginuid"))
	a.every(fact{section, "login user", "the daemon's: " + daemon, "loginuid", 1}, func(p process) []string { return []string{p.login} },
		func(v string) bool { return err == nil && v == daemon })

	a.checkLabel(section)
	a.hidden(fact{section, "session keyring", "its own", "keyctl(2)", 2}, "told to the process itself only")
}

// checkLabel compares the security module's label, if the profile names one.
func (a *audit) checkLabel(section string) {
	lsm := a.Profile.LSM
	f := fact{section, "label", "any", "attr/current", 3}
	ok := func(string) bool { return true }
	switch {
	case lsm.AppArmor != "":
		f.want = lsm.AppArmor + " (enforce)"
		ok = func(v string) bool { return v == f.want }
	case lsm.SELinux != "":
		f.want = lsm.SELinux
		ok = func(v string) bool { return v == f.want }
	}
	a.every(f, func(p process) []string { return []string{p.label} }, ok)
}

// namespaceLink is what the kernel calls a kind of namespace.
func namespaceLink(name string) string {
	if name == "mount" {
		return "mnt"
	}
	return name
}

// checkNamespaces wants each private namespace to be nobody else's.
func (a *audit) checkNamespaces() {
	const section = "namespaces"
	for _, name := range a.Profile.Namespaces.Private {
		link := namespaceLink(name)
		own := a.first.namespaces[link]
		f := fact{section, name, "its own", "ns/" + link, 5}
		sharers, err := a.sharersOf(link)
		switch {
		case own == "" || err != nil:
			a.judge(f, orNone(own), false, errors.Join(a.first.err, err))
		case len(sharers) > 0:
			a.judge(f, own+", which is also that of "+strings.Join(sharers, ", "), false, nil)
		default:
			a.judge(f, own, true, nil)
		}
	}
	for _, link := range []string{"cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "user", "uts"} {
		first := a.first.namespaces[link]
		a.every(fact{section, link + " of each process", first, "ns/" + link, 3}, func(p process) []string { return []string{p.namespaces[link]} },
			func(v string) bool { return v == first })
	}
}

// sharersOf are those others that are in a namespace of the sandbox's.
func (a *audit) sharersOf(link string) ([]string, error) {
	var found []string
	own := a.first.namespaces[link]
	for name, process := range map[string]string{"this process": "self", "the daemon": a.first.parent()} {
		host, err := os.Readlink(filepath.Join(a.proc, process, "ns", link))
		if err != nil {
			return nil, err
		}
		if host == own {
			found = append(found, name)
		}
	}
	for _, pid := range a.Others {
		other, err := os.Readlink(a.path(pid, "ns/"+link))
		switch {
		case vanished(err):
		case err != nil:
			return nil, err
		case other == own:
			found = append(found, fmt.Sprintf("the sandbox of process %d", pid))
		}
	}
	return found, nil
}
