package mcp

// Complete turns a handshake-era response into the shape of the stateless era:
// results get a resultType, those of cacheable methods ttlMs and cacheScope
// (2026-07-28, server/utilities/caching), and error codes that era no longer has
// become their successors. What the server said itself stays.
func (m Message) Complete(method string) Message {
	if !m.err.Empty() {
		code := m.InError("code")
		if string(m.At(code)) == "-32002" { // CodeResourceNotFound
			return m.Replace(code, []byte("-32602"))
		}
		return m
	}
	if kindAt(m.Result()) != '{' {
		return m
	}
	members := []string{"resultType"}
	values := []string{`"complete"`}
	if cacheable(method) {
		// Nothing is known of how long it stays true and for whom: neither is
		// promised.
		members = append(members, "ttlMs", "cacheScope")
		values = append(values, "0", `"private"`)
	}
	var added []byte
	for i, name := range members {
		if !m.InResult(name).Empty() {
			continue
		}
		if len(added) > 0 {
			added = append(added, ',')
		}
		added = append(append(append(added, Quote(name)...), ':'), values[i]...)
	}
	if len(added) == 0 {
		return m
	}
	return m.Insert(m.result, added)
}

func cacheable(method string) bool {
	switch method {
	case MethodDiscover, "tools/list", "prompts/list", "resources/list", "resources/templates/list", MethodResourcesRead:
		return true
	}
	return false
}
