package credential

import (
	"encoding/json"
	"io"
	"net/http"
)

// entraError reads the code and the AADSTS number of a refusal. The description is left out: it may repeat what was sent.
func entraError(res *http.Response) (code string, number int) {
	var answer struct {
		Error string `json:"error"`
		Codes []int  `json:"error_codes"`
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil || json.Unmarshal(b, &answer) != nil {
		return "", 0
	}
	if len(answer.Codes) > 0 {
		number = answer.Codes[0]
	}
	return answer.Error, number
}
