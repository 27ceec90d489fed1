//go:build !race

package authztest_test

const underRace = false
