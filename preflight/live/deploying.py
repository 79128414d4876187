"""Whether the caller may deploy the plan: IAM's own simulator is asked for each right that the plan needs."""

from collections.abc import Iterator

from preflight.deployer import Permission, deployer
from preflight.graph import Graph
from preflight.live.asking import Account, UnansweredError
from preflight.live.verdict import Verdict
from preflight.program import Recording

_SHOWN = 6
"""So many actions are named before the rest is only counted."""


def rights(account: Account, preview: Recording) -> Verdict:
    """Say which rights of `preflight rights` the caller lacks, where the caller may ask that.

    The simulator knows the caller's own policies, boundary and those of the organisation. It knows neither session
    policies nor those of buckets and keys.
    """
    try:
        caller = _principal(account)
        if caller.endswith(":root"):
            return Verdict(about="account", link="rights", status="ok", text="the caller is root, who may everything")
        needed = deployer(preview["stack"], Graph.of(preview), preview["invokes"]).permissions
        lacking = sorted({action for one in needed for action in _denied(account, caller, one)})
    except UnansweredError as unanswered:
        return Verdict(about="account", link="rights", status="unknown", text=str(unanswered.gap))
    if lacking:
        more = len(lacking) - _SHOWN
        named = ", ".join(lacking[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
        fix = f"preflight rights {preview['stack']} writes the policies"
        return Verdict(
            about="account",
            link="rights",
            status="broken",
            text=f"{caller} may not {named}, as the plan needs",
            fix=fix,
        )
    return Verdict(about="account", link="rights", status="ok", text=f"{caller} may all that the plan needs")


def _principal(account: Account) -> str:
    """Return whom the simulator knows: of a session, its role."""
    parts = account.caller.split(":")
    if parts[2] != "sts" or not parts[5].startswith("assumed-role/"):
        return account.caller
    name = parts[5].split("/")[1]
    found = account.one("iam", "get_role", RoleName=name) or {}  # its path is in no session's name
    return str(found["Role"]["Arn"])


def _denied(account: Account, caller: str, needed: Permission) -> Iterator[str]:
    context = [
        {"ContextKeyName": key, "ContextKeyValues": list(values), "ContextKeyType": "string"}
        for keys in needed.conditions.values()
        for key, values in keys.items()
    ]
    # An action that no account's number limits is asked of this one.
    resources = [arn.replace("::*:", f"::{account.id}:") for arn in needed.resources]
    for result in account.items(
        "iam",
        "simulate_principal_policy",
        "EvaluationResults",
        PolicySourceArn=caller,
        ActionNames=list(needed.actions),
        ResourceArns=resources,
        ContextEntries=context,
    ):
        specific = result.get("ResourceSpecificResults") or [result]
        decisions = {one.get("EvalResourceDecision", one.get("EvalDecision")) for one in specific}
        unsaid = any(one.get("MissingContextValues") for one in (*specific, result))
        # Not each of these resources is one that each of these actions can be about.
        if "allowed" not in decisions and not unsaid:
            yield str(result["EvalActionName"])
