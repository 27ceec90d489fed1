package main

import "context"

func smoke(context.Context, string, string, bool) error { return nil }
