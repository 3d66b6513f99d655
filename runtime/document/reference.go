package document

import (
	"slices"
	"strings"
)

// MaxSecret is the size in bytes of the longest text that a reference stands for.
const MaxSecret = 64 << 10

// pending is a value whose references are still to be looked up.
type pending struct {
	path  Path
	parts []part
	set   func(text string, fetched []string)
}

// variables makes literals of the variables among parts. A default is one already.
func (d *decoder) variables(p Path, parts []part) {
	for i := range parts {
		if parts[i].variable == "" {
			continue
		}
		value, fetched, problem := parts[i].value(d.env)
		if problem != "" {
			d.Add(p, "%s", problem)
			d.failed[p] = true
		}
		if d.visible != "" {
			d.Warn(p, "what is in variable %s will be seen by %s: it must be no secret", parts[i].variable, d.visible)
		}
		parts[i].literal = value
		if !fetched {
			parts[i].variable = ""
		}
	}
}

// references refuses those where what they stand for would be seen.
func (d *decoder) references(p Path, parts []part, holder Holder) {
	for _, one := range parts {
		if one.Kind == "" || holder != nil {
			continue
		}
		d.failed[p] = true
		if d.visible != "" {
			d.Add(p, "%s can't be used here: it would be seen by %s: give it to the server in its env", one.Reference, d.visible)
		} else {
			d.Add(p, "%s can't be used here: only settings that are kept secret, such as those below env, can have it", one.Reference)
		}
	}
}

// hold gives a holder its text, or notes that it gets it once the references are
// looked up.
func (d *decoder) hold(p Path, parts []part, holder Holder) {
	text, fetched := join(parts)
	if strings.Contains(text, "\x00") {
		d.Fail(p, "holds a NUL byte: no program can be given one")
		return
	}
	d.size += nodeSize + len(text)
	set := holder.Later()
	if slices.ContainsFunc(parts, func(one part) bool { return one.Kind != "" }) {
		d.pending = append(d.pending, pending{p, parts, set})
		return
	}
	set(text, fetched)
}

// join puts parts together whose literals are known. fetched are those that were
// not written in the file.
func join(parts []part) (text string, fetched []string) {
	var out strings.Builder
	for _, one := range parts {
		out.WriteString(one.literal)
		if (one.variable != "" || one.Kind != "") && one.literal != "" {
			fetched = append(fetched, one.literal)
		}
	}
	return out.String(), fetched
}

// References calls each for every reference that is still to be looked up, and the
// value that it is in.
func (r *Report) References(each func(Path, Reference)) {
	for _, one := range r.pending {
		for _, part := range one.parts {
			if part.Kind != "" {
				each(one.path, part.Reference)
			}
		}
	}
}

// Resolve looks up the references of the values within a path; get is called for
// each of them, also for one that is there twice. It gives a text, of at most
// MaxSecret bytes, or an error without any of it.
func (r *Report) Resolve(within Path, get func(Reference) (string, error)) {
	size := 0
	r.pending = slices.DeleteFunc(r.pending, func(one pending) bool {
		if !one.path.Within(within) {
			return false
		}
		for i, part := range one.parts {
			if part.Kind == "" {
				continue
			}
			value, err := get(part.Reference)
			switch {
			case err != nil:
				r.Fail(one.path, "%s: %v", part.Reference, err)
			case strings.Contains(value, "\x00"):
				r.Fail(one.path, "%s holds a NUL byte: no program can be given one", part.Reference)
			case size > maxSize:
				r.Fail(one.path, "all secrets together are larger than %d bytes", maxSize)
			}
			one.parts[i].literal = value
			size += len(value)
		}
		if !r.HasFailed(one.path) {
			one.set(join(one.parts))
		}
		return true
	})
}
