"""Every flow of python3-msal against one authority; prints {"flow": access token} as JSON.

Run by clients_test.go, with the authority and the accounts in the environment.
"""
import json
import os
import sys

import msal

env = os.environ
scope = [env["SCOPE"]]
cert = {"private_key": open(env["KEY"]).read(), "thumbprint": env["THUMBPRINT"]}
tokens = {}


def keep(flow, answer):
    if "access_token" not in answer:
        sys.exit("%s: %s" % (flow, json.dumps(answer)))
    tokens[flow] = answer["access_token"]


for form, authority, extra in (
    ("adfs", env["AUTHORITY"], {}),
    ("entra", env["ARM"] + "/" + env["TENANT"], {"instance_discovery": False}),
):
    def confidential(credential):
        return msal.ConfidentialClientApplication("builder", authority=authority, client_credential=credential, **extra)

    keep(form + " secret", confidential("builder").acquire_token_for_client(scope))
    keep(form + " certificate", confidential(cert).acquire_token_for_client(scope))

    public = msal.PublicClientApplication(env["PUBLIC"], authority=authority, **extra)
    flow = public.initiate_device_flow(scope)
    if "user_code" not in flow:
        sys.exit("device: %s" % json.dumps(flow))
    print(flow["message"], file=sys.stderr, flush=True)
    keep(form + " device", public.acquire_token_by_device_flow(flow))

    account = public.get_accounts()[0]
    keep(form + " silent, another resource", public.acquire_token_silent([env["OTHER"]], account))

    # The browser is a program that fills in the page: BROWSER.
    keep(form + " browser", public.acquire_token_interactive(scope, prompt="select_account"))

if "access_token" in msal.ConfidentialClientApplication(
        "builder", authority=env["AUTHORITY"], client_credential="wrong").acquire_token_for_client(scope):
    sys.exit("a wrong secret has a token")
json.dump(tokens, sys.stdout)
