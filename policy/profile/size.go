package profile

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes. In a file it is a whole number, or a text with one of
// the suffixes K, M, G and T, which count in powers of 1024.
type Size int64

const sizeUnits = "KMGT"

// String gives the largest unit that leaves a whole number.
func (s Size) String() string {
	value, unit := int64(s), ""
	for i := 0; i < len(sizeUnits) && value != 0 && value%1024 == 0; i++ {
		value, unit = value/1024, sizeUnits[i:i+1]
	}
	return strconv.FormatInt(value, 10) + unit
}

// UnmarshalText reads what String gives.
func (s *Size) UnmarshalText(text []byte) error {
	number, factor := string(text), int64(1)
	if n := len(number); n > 0 {
		if unit := strings.IndexByte(sizeUnits, number[n-1]); unit >= 0 {
			number, factor = number[:n-1], 1<<(10*(unit+1))
		}
	}
	value, err := strconv.ParseUint(number, 10, 63)
	if err != nil || int64(value) > math.MaxInt64/factor {
		return errors.New(`want a number of bytes, with K, M, G or T behind it for powers of 1024, as in "512M"`)
	}
	*s = Size(int64(value) * factor)
	return nil
}
