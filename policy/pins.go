package policy

// PinMode says what happens when a server's tools are not those that were approved.
type PinMode string

// The values of PinMode. PinsOff looks at nothing, PinsReport tells and lets all
// pass, and PinsBlock keeps what is not approved from callers.
const (
	PinsOff    PinMode = "off"
	PinsReport PinMode = "report"
	PinsBlock  PinMode = "block"
)

// HiddenText says what happens to text in lists that people don't see and models read.
type HiddenText string

// The values of HiddenText.
const (
	HiddenOff    HiddenText = "off"    // nothing is looked at
	HiddenReport HiddenText = "report" // it is told of, and passes
	HiddenStrip  HiddenText = "strip"  // it is taken out of descriptions; an item with it elsewhere is left out
	HiddenBlock  HiddenText = "block"  // an item with any is left out
)

// ToolLock is the file of approved tools as it is: parts of it are what servers wrote,
// which the daemon does not read.
type ToolLock struct {
	Name    string `json:"name"` // of the file, for messages
	Content []byte `json:"content"`
}
