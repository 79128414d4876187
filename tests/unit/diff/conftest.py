"""A git repository with a small program in it, and the command line on it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

PROGRAM = '''
"""A cluster's identity and one subnet, as plain registrations: no SDK to import."""

import json
import pulumi

ISSUER = "oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF"
PROVIDER = f"arn:aws:iam::111122223333:oidc-provider/{ISSUER}"
ACTIONS = ["s3:GetObject", "s3:ListBucket"]
SUBJECTS = ["system:serviceaccount:apps:web"]
TEAM = "blue"


class Any(pulumi.CustomResource):
    arn: pulumi.Output[str]
    name: pulumi.Output[str]

    def __init__(self, token, name, opts=None, **inputs):
        super().__init__(token, name, {"arn": None, "name": None, **inputs}, opts)


def document(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


vpc = Any("aws:ec2/vpc:Vpc", "vpc", cidrBlock="10.0.0.0/16")
subnet = Any(
    "aws:ec2/subnet:Subnet",
    "subnet-a",
    vpcId=vpc.id,
    cidrBlock="10.0.0.0/24",
    tags={"team": TEAM, "kubernetes.io/role/elb": "1"},
)
provider = Any("aws:iam/openIdConnectProvider:OpenIdConnectProvider", "issuer", url=f"https://{ISSUER}",
               clientIdLists=["sts.amazonaws.com"])
trust = document(
    {
        "Effect": "Allow",
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Principal": {"Federated": PROVIDER},
        "Condition": {"StringEquals": {f"{ISSUER}:sub": SUBJECTS, f"{ISSUER}:aud": "sts.amazonaws.com"}},
    }
)
role = Any("aws:iam/role:Role", "app", assumeRolePolicy=trust)
policy = Any(
    "aws:iam/policy:Policy",
    "app-data",
    policy=document({"Sid": "Data", "Effect": "Allow", "Action": ACTIONS, "Resource": "arn:aws:s3:::data/*"}),
)
Any("aws:iam/rolePolicyAttachment:RolePolicyAttachment", "app-data", role=role.name, policyArn=policy.arn)
for account in ("web", "worker"):
    Any(
        "kubernetes:core/v1:ServiceAccount",
        account,
        metadata={
            "name": account, "namespace": "apps", "annotations": {"eks.amazonaws.com/role-arn": role.arn}
        },
    )
pulumi.export("vpc", vpc.id)
'''


class Repository:
    """A git repository whose top folder holds the program."""

    def __init__(self, folder):
        self.folder = folder
        self.temporary = folder.parent / "tmp"
        self.temporary.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        self.write("Pulumi.yaml", "name: own\nruntime: python\n")
        self.write("Pulumi.dev.yaml", "config:\n  aws:region: eu-west-1\n")
        self.write("__main__.py", PROGRAM)
        self.commit("first")

    def git(self, *arguments):
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
        told = subprocess.run(  # noqa: S603 our own words
            ["git", "-C", self.folder, *identity, *arguments],  # noqa: S607 whichever git the tester has
            capture_output=True,
            text=True,
            check=True,
        )
        return told.stdout

    def write(self, name, text):
        (self.folder / name).write_text(text, encoding="utf-8")

    def edit(self, old, new, name="__main__.py"):
        text = (self.folder / name).read_text(encoding="utf-8")
        assert old in text, f"the edit must hit: {old}"
        self.write(name, text.replace(old, new))

    def commit(self, message="next"):
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)

    def preflight(self, *arguments, start_new_session=False, **environment):
        """Run the command line in a process of its own, with a folder of its own for what is temporary."""
        return subprocess.run(  # noqa: S603
            [sys.executable, "-m", "preflight", "-C", self.folder, *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            start_new_session=start_new_session,
            env={**os.environ, "TMPDIR": str(self.temporary), "PYTHONWARNINGS": "default", **environment},
        )

    def preflight_alone(self, *arguments, **environment):
        """The same in a process group of its own, so that a signal to all of it does not reach the tests."""
        return self.preflight(*arguments, start_new_session=True, **environment)

    def untouched(self):
        """Whether nothing is left of a run, in git's books, in the user's tree and in the temporary folder."""
        left = {
            "changed files": self.git("status", "--porcelain", "--ignored"),
            "worktrees": self.git("worktree", "list", "--porcelain").count("worktree ") - 1,
            "git's books": sorted(path.name for path in (self.folder / ".git").glob("worktrees")),
            "temporary files": sorted(path.name for path in self.temporary.iterdir()),
        }
        return {what: found for what, found in left.items() if found}


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    folder.mkdir()
    return Repository(folder)
