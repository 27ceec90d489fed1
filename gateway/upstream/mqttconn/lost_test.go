package mqttconn

import (
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// TestALostConnectionHoldsNobody: if a connection is lost while a caller hands a
// packet to the library, the library sometimes blocks that caller for its write
// timeout. Callers of Conn must not be blocked, and all acknowledgement functions must
// be called at once.
func TestALostConnectionHoldsNobody(t *testing.T) {
	for range 20 { // it is a matter of luck which way the library takes
		synctest.Test(t, func(t *testing.T) {
			lose := make(chan struct{})
			c, err := Connect(
				t.Context(),
				Options{ClientID: "x", KeepAlive: time.Hour, Dial: server(t, func(net.Conn) { <-lose })},
			) // it reads nothing
			if err != nil {
				t.Fatal(err)
			}
			const callers = 6
			ended := make(chan error, callers+1)
			for range callers {
				go func() {
					if err := c.Publish("t", 1, false, []byte("x"), func(err error) { ended <- err }); err != nil {
						ended <- err
					}
				}()
			}
			go func() {
				_, err := c.Subscribe(t.Context(), "a")
				ended <- err
			}()
			synctest.Wait() // all stand behind the one that cannot be written
			began := time.Now()
			close(lose)
			for range callers + 1 {
				if err := <-ended; err == nil {
					t.Error("no error")
				}
			}
			c.Close()
			if d := time.Since(began); d > 0 {
				t.Errorf("held for %v", d)
			}
			time.Sleep(2 * writeTimeout) // by then the library has let go, too
		})
	}
}
