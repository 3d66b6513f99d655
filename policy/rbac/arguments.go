package rbac

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	// maxArguments is the size in bytes of the largest arguments that conditions see.
	maxArguments = 1 << 20
	// maxDepth is how deep arguments may nest that conditions see.
	maxDepth = 200
)

// arguments gives the arguments of a call as a CEL value: an error, which makes every
// condition fail that looks at them, unless they are one JSON object that every reader
// understands alike.
func arguments(raw []byte) ref.Val {
	if len(raw) == 0 {
		return types.DefaultTypeAdapter.NativeToValue(map[string]any{})
	}
	value, err := decodeArguments(raw)
	if err != nil {
		return types.WrapErr(fmt.Errorf("read arguments: %w", err))
	}
	return types.DefaultTypeAdapter.NativeToValue(value)
}

func decodeArguments(raw []byte) (map[string]any, error) {
	if len(raw) > maxArguments {
		return nil, fmt.Errorf("they are larger than %d bytes", maxArguments)
	}
	decoder := jsontext.NewDecoder(bytes.NewBuffer(raw)) // which is not copied
	value, err := decodeValue(decoder)
	if err != nil {
		return nil, err
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("they are no object")
	}
	if rest := bytes.TrimLeft(raw[decoder.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return nil, fmt.Errorf("more follows the object")
	}
	return object, nil
}

// decodeValue reads one value. jsontext refuses members that are there twice, and
// what is no Unicode.
func decodeValue(d *jsontext.Decoder) (any, error) {
	token, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	if d.StackDepth() > maxDepth {
		return nil, fmt.Errorf("they nest deeper than %d levels", maxDepth)
	}
	switch token.Kind() {
	case 'n':
		return nil, nil
	case 't', 'f':
		return token.Bool(), nil
	case '"':
		return token.String(), nil
	case '0':
		return number(token.String())
	case '[':
		list := []any{}
		for d.PeekKind() != ']' {
			value, err := decodeValue(d)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		_, err := d.ReadToken()
		return list, err
	}
	return decodeObject(d)
}

// decodeObject reads what follows a "{". Members that differ in case alone are the
// same one to some servers.
func decodeObject(d *jsontext.Decoder) (any, error) {
	object, folded := map[string]any{}, map[string]bool{}
	for d.PeekKind() != '}' {
		token, err := d.ReadToken()
		if err != nil {
			return nil, err
		}
		name := token.String()
		same := fold(name)
		if folded[same] {
			return nil, fmt.Errorf("two members differ in case alone")
		}
		folded[same] = true
		if object[name], err = decodeValue(d); err != nil {
			return nil, err
		}
	}
	_, err := d.ReadToken()
	return object, err
}

// fold gives texts that differ in case alone the same form: the long s and the sign
// of the Kelvin have capitals that are letters of ASCII.
func fold(name string) string {
	for i := range len(name) {
		if name[i] >= 0x80 {
			return strings.ToLower(strings.ToUpper(name))
		}
	}
	return strings.ToLower(name)
}

// number keeps whole numbers exact: what fits no integer of CEL is an error.
func number(text string) (any, error) {
	if !strings.ContainsAny(text, ".eE") {
		if value, err := strconv.ParseInt(text, 10, 64); err == nil {
			return value, nil
		}
		if value, err := strconv.ParseUint(text, 10, 64); err == nil {
			return value, nil
		}
		return nil, fmt.Errorf("a number is too large")
	}
	value, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(value, 0) {
		return nil, fmt.Errorf("a number is too large")
	}
	return value, nil
}

// claimValue is a claim as CEL can have it. A number that it can't have is an error
// for the conditions that look at it, as every value of a type that is unknown is.
func claimValue(value any) any {
	switch v := value.(type) {
	case json.Number:
		n, err := number(v.String())
		if err != nil {
			return types.WrapErr(err)
		}
		return n
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = claimValue(v[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for name := range v {
			out[name] = claimValue(v[name])
		}
		return out
	}
	return value
}
