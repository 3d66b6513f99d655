package mcp

// Complete turns a handshake-era response into the shape of the stateless era:
// results get a resultType, those of cacheable methods ttlMs and cacheScope
// (2026-07-28, server/utilities/caching), and error codes that era no longer has
// become their successors. The server's own description, raw, goes into _meta unless it is
// nil. What the server said itself stays.
func (m Message) Complete(method string, serverInfo []byte) Message {
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
	if serverInfo != nil && m.InResult("_meta", MetaServerInfo).Empty() {
		info := append([]byte(`"`+MetaServerInfo+`":`), serverInfo...)
		if meta := m.InResult("_meta"); kindAt(m.At(meta)) == '{' {
			m = m.Insert(meta, info)
		} else if meta.Empty() {
			if len(added) > 0 {
				added = append(added, ',')
			}
			added = append(append(append(added, `"_meta":{`...), info...), '}')
		}
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
