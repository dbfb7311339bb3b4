"""Jobs and journal in, steps with a reason and a price each out. Pure."""

from seedance_batch.plan.budget import budget_problem, fitting, running_problem
from seedance_batch.plan.choice import RerunChoice
from seedance_batch.plan.doubts import Doubt, Sign, Traces, doubts
from seedance_batch.plan.draft import draft_job, side_by_side
from seedance_batch.plan.flags import BodyFlags, Flags
from seedance_batch.plan.left import exit_of, left_over
from seedance_batch.plan.make import make_plan
from seedance_batch.plan.saved import SavedPlan, agreed, approved, drift, from_json, to_json
from seedance_batch.plan.spending import Spending
from seedance_batch.plan.steps import UNSETTLED, Action, Plan, Step, Total, cheapest, total

__all__ = [
    "UNSETTLED",
    "Action",
    "BodyFlags",
    "Doubt",
    "Flags",
    "Plan",
    "RerunChoice",
    "SavedPlan",
    "Sign",
    "Spending",
    "Step",
    "Total",
    "Traces",
    "agreed",
    "approved",
    "budget_problem",
    "cheapest",
    "doubts",
    "draft_job",
    "drift",
    "exit_of",
    "fitting",
    "from_json",
    "left_over",
    "make_plan",
    "running_problem",
    "side_by_side",
    "to_json",
    "total",
]
