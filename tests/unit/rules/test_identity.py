"""Who may become whom: each rule fires for one small change to a good stack."""

from __future__ import annotations

import json

import pytest

from preflight.rules import RULES
from tests.unit.rules.conftest import Change, Recorded

ACCOUNT = "ServiceAccount ingress-controller-account"
ROLE = "Role ingress-controller-role"
POLICY = "Policy ingress-controller-aws-load-balancer-controller"
ATTACHMENT = "RolePolicyAttachment ingress-controller-aws-load-balancer-controller"
RELEASE = "Release ingress-aws-load-balancer-controller"
PROVIDER = "OpenIdConnectProvider irsa-provider"
DRIVER = "Role cluster-aws-ebs-csi-driver-role"
SUBJECT = "system:serviceaccount:kube-system:aws-load-balancer-controller"
ROLE_ARN = ("metadata", "annotations", "eks.amazonaws.com/role-arn")


def trust(*replacements: tuple[str, str], role: str = ROLE) -> Change:
    """Replace text in a trust policy."""

    def changed(stack: Recorded) -> None:
        document = stack[role].get("assumeRolePolicy")
        for old, new in replacements:
            assert old in document
            document = document.replace(old, new)
        stack[role].set("assumeRolePolicy", to=document)

    return changed


def condition(change) -> Change:
    """Change the conditions of the controller's trust policy, in place."""

    def changed(stack: Recorded) -> None:
        document = json.loads(stack[ROLE].get("assumeRolePolicy"))
        change(document["Statement"][0]["Condition"])
        stack[ROLE].set("assumeRolePolicy", to=json.dumps(document))

    return changed


def drop(ending: str) -> Change:
    def changed(conditions) -> None:
        (key,) = [key for key in conditions["StringEquals"] if key.endswith(ending)]
        del conditions["StringEquals"][key]

    return condition(changed)


def like(pattern: str) -> Change:
    def changed(conditions) -> None:
        (key,) = [key for key in conditions["StringEquals"] if key.endswith(":sub")]
        del conditions["StringEquals"][key]
        conditions["StringLike"] = {key: pattern}

    return condition(changed)


def whole_arn(stack: Recorded) -> None:
    arn = stack[PROVIDER].get("arn")
    issuer = arn.partition(":oidc-provider/")[2]
    trust((f'"{issuer}:', f'"{arn}:'))(stack)


def rename_chart_account(stack: Recorded) -> None:
    stack[RELEASE].set("values", "serviceAccount", to={"create": True, "name": "balancer"})


def second_policy_statement(stack: Recorded) -> None:
    document = json.loads(stack[POLICY].get("policy"))
    for statement in document["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        statement["Action"] = [each for each in actions if each != "elasticloadbalancing:SetRulePriorities"] or [
            "ec2:x"
        ]
    stack[POLICY].set("policy", to=json.dumps(document))


def bind(role: str) -> Change:
    """Bind the controller's account to a role by Pod Identity."""

    def changed(stack: Recorded) -> None:
        association = "PodIdentityAssociation cluster-vpc-cni-association"
        inputs = {
            "clusterName": stack[association].get("clusterName"),
            "namespace": "kube-system",
            "serviceAccount": "aws-load-balancer-controller",
            "roleArn": stack[role].get("arn"),
        }
        stack.add("aws:eks/podIdentityAssociation:PodIdentityAssociation", "second", inputs, like=association)

    return changed


POD_IDENTITY = {
    "Effect": "Allow",
    "Principal": {"Service": "pods.eks.amazonaws.com"},
    "Action": ["sts:AssumeRole", "sts:TagSession"],
}


def move_over(*, keep_irsa: bool) -> Change:
    """Bind the controller's account to its own role by Pod Identity too, and leave its annotation."""

    def changed(stack: Recorded) -> None:
        document = json.loads(stack[ROLE].get("assumeRolePolicy"))
        document["Statement"] = [*(document["Statement"] if keep_irsa else []), POD_IDENTITY]
        stack[ROLE].set("assumeRolePolicy", to=json.dumps(document))
        bind(ROLE)(stack)

    return changed


def annotate_deployment(stack: Recorded) -> None:
    arn = stack[ROLE].get("arn")
    stack["Deployment demo-deployment"].set(
        "spec", "template", "metadata", "annotations", to={"eks.amazonaws.com/role-arn": arn}
    )


def unattached_policy(stack: Recorded) -> None:
    inputs = {"policy": stack[POLICY].get("policy")}
    stack.add("aws:iam/policy:Policy", "spare", inputs, like=POLICY, arn="arn:aws:iam::111122223333:policy/spare")


# The rule, a change that makes it fire, and the rules that have the same cause to speak.
MUTANTS: dict[str, tuple[Change, set[str]]] = {
    "irsa-role-arn": (
        lambda stack: stack[ACCOUNT].set(*ROLE_ARN, to="aws-load-balancer-controller"),
        {"trust-nobody"},
    ),
    "irsa-provider-missing": (lambda stack: stack.remove(PROVIDER), set()),
    "irsa-audience": (lambda stack: stack[PROVIDER].set("clientIdLists", to=["sts.amazonaws.com.cn"]), set()),
    "irsa-key-scheme": (trust(('"oidc.eks', '"https://oidc.eks')), set()),
    "irsa-key-arn": (whole_arn, set()),
    "irsa-key-issuer": (trust(('"oidc.eks.ap-northeast-2', '"oidc.eks.eu-west-1')), set()),
    "irsa-wildcard": (trust((SUBJECT, "system:serviceaccount:kube-system:*")), set()),
    "irsa-subject": (trust((SUBJECT, "system:serviceaccount:kube-system:alb")), set()),
    "pod-identity-tag-session": (trust((', "sts:TagSession"', ""), role=DRIVER), set()),
    "trust-malformed": (trust(('"Effect"', '"Efect"')), set()),
    "trust-refused": (trust(("sts:AssumeRoleWithWebIdentity", "sts:AssumeRole")), set()),
    "trust-undecided": (
        lambda stack: stack[ACCOUNT].set(*ROLE_ARN, to="arn:aws:iam::111122223333:role/elsewhere"),
        {"trust-nobody"},
    ),
    "pod-identity-agent": (lambda stack: stack.remove("Addon cluster-eks-pod-identity-agent"), set()),
    "two-mechanisms": (
        bind("Role cluster-vpc-cni-role"),
        {"irsa-subject", "controller-outlives-rights"},
    ),
    "trust-open-cluster": (drop(":sub"), set()),
    "trust-open-namespace": (like("system:serviceaccount:kube-system:*"), set()),
    "trust-without-audience": (drop(":aud"), set()),
    "trust-nobody": (lambda stack: stack[ACCOUNT].unset(*ROLE_ARN), {"chart-without-role"}),
    "chart-without-role": (rename_chart_account, set()),
    "account-twice": (lambda stack: stack[RELEASE].set("values", "serviceAccount", "create", to=True), set()),
    "account-missing": (
        lambda stack: stack["Deployment demo-deployment"].set(
            "spec", "template", "spec", "serviceAccountName", to="web"
        ),
        set(),
    ),
    "role-without-policy": (lambda stack: stack.remove(ATTACHMENT), {"policy-unattached"}),
    "policy-unattached": (unattached_policy, set()),
    "controller-policy-old": (second_policy_statement, set()),
    "arn-partition": (
        lambda stack: stack[POLICY].set("policy", to=stack[POLICY].get("policy").replace("arn:aws:", "arn:aws-cn:")),
        set(),
    ),
    "pod-before-account": (lambda stack: stack[RELEASE].forgets(ACCOUNT), {"controller-outlives-rights"}),
    "annotation-key": (
        lambda stack: stack[ACCOUNT].set("metadata", "annotations", "eks.amazonaws.com/rolearn", to="x"),
        set(),
    ),
    "annotation-misplaced": (annotate_deployment, set()),
    "static-credentials": (
        lambda stack: stack[RELEASE].set("values", "env", to={"AWS_ROLE_ARN": "arn:aws:iam::111122223333:role/x"}),
        set(),
    ),
}


@pytest.mark.parametrize("rule", MUTANTS)
def test_a_small_change_makes_this_rule_fire(rule, dev, new_findings):
    change, companions = MUTANTS[rule]
    found = new_findings(dev, change)
    assert rule in {one.rule for one in found}
    assert {one.rule for one in found} <= {rule, *companions}, found
    mine = [one for one in found if one.rule == rule]
    assert {one.severity for one in mine} == {RULES[rule].severity}
    assert all(one.message.endswith(".") and one.fix.endswith(".") for one in mine), "both are sentences"


# What other projects got wrong, and what the finding says to write instead.
@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("irsa-subject", "Write system:serviceaccount:kube-system:aws-load-balancer-controller as subject"),
        ("irsa-wildcard", "Write system:serviceaccount:kube-system:aws-load-balancer-controller as subject"),
        ("trust-without-audience", ':aud": "sts.amazonaws.com" under StringEquals'),
        ("chart-without-role", "that of kube-system/aws-load-balancer-controller"),
        ("pod-before-account", "ingress-controller-account to depends_on"),
    ],
)
def test_the_fix_names_what_to_write(rule, words, dev, new_findings):
    found = new_findings(dev, MUTANTS[rule][0])
    assert words in next(one.fix for one in found if one.rule == rule)


def test_a_doubled_prefix_is_named_for_what_it_is(dev, new_findings):
    found = new_findings(dev, trust((SUBJECT, f"system:serviceaccount:{SUBJECT}")))
    assert [one.rule for one in found] == ["irsa-subject"]
    assert "stands there twice" in found[0].message


@pytest.mark.parametrize(("chart", "needs"), [("1.5.4", False), ("1.8.2", False), ("1.11.0", False), ("1.13.0", True)])
def test_a_policy_is_too_old_from_the_release_on_that_calls_more(chart, needs, dev):
    second_policy_statement(dev)
    dev[RELEASE].set("version", to=chart)
    assert bool(dev.of("controller-policy-old")) is needs


def test_an_account_on_the_move_with_both_mechanisms_and_one_role_is_clean(dev):
    move_over(keep_irsa=True)(dev)
    assert dev.of("two-mechanisms") == []
    assert dev.of("trust-refused") == []


def test_an_annotation_that_was_left_behind_is_a_warning_and_no_refusal(dev, new_findings):
    found = new_findings(dev, move_over(keep_irsa=False))
    about_identity = [one for one in found if one.rule != "controller-outlives-rights"]
    assert [one.rule for one in about_identity] == ["two-mechanisms"]
    assert "admits its pods by Pod Identity only" in about_identity[0].message


@pytest.mark.parametrize("key", ["the stack's outputs", "an object of the cluster"])
def test_a_role_or_policy_that_is_handed_on_may_be_somebodys_elsewhere(key, dev):
    """A GitOps tool or another stack makes accounts and attachments that this program does not show."""
    dev.update["outputs"].clear()
    dev.remove(ATTACHMENT, ACCOUNT, RELEASE)
    fired = {rule for rule in ("trust-nobody", "policy-unattached") if dev.of(rule)}
    assert fired == {"trust-nobody", "policy-unattached"}, "nobody has them"
    arns = {"role": dev[ROLE].get("arn"), "policy": dev[POLICY].get("arn")}
    if key == "the stack's outputs":
        dev.update["outputs"]["handedOn"] = arns
    else:
        dev["Service demo-service"].set("metadata", "labels", to=arns)
    assert [one for rule in fired for one in dev.of(rule)] == []


def test_one_trust_policy_that_is_not_known_does_not_hide_what_is_wrong_with_another(dev):
    drop(":sub")(dev)
    dev[DRIVER].set("assumeRolePolicy", to="04da6b54-80e4-46f7-96ec-b56ff0331ba9")
    assert [one.severity for one in dev.of("trust-open-cluster")] == ["error"]
    assert DRIVER.removeprefix("Role ") in {one.resource.rpartition("::")[2] for one in dev.of("trust-undecided")}
