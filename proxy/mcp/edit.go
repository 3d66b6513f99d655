package mcp

// Edit copies an object that was already checked and lets keep change or leave out
// its members. Of anything that is no object it makes {}.
func Edit(object []byte, keep func(name string, value []byte) ([]byte, bool)) []byte {
	kept := []byte{'{'}
	for name, value := range Members(object) {
		value, ok := keep(name, value)
		if !ok {
			continue
		}
		if len(kept) > 1 {
			kept = append(kept, ',')
		}
		kept = append(append(append(kept, Quote(name)...), ':'), value...)
	}
	return append(kept, '}')
}

// Without copies an object without some of its members.
func Without(object []byte, names ...string) []byte {
	return Edit(object, func(name string, value []byte) ([]byte, bool) {
		for _, n := range names {
			if n == name {
				return nil, false
			}
		}
		return value, true
	})
}
