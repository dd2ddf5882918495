"""The batch endpoint for FastAPI, beside the one that takes one event."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict


class BatchEvent(BaseModel):
    model_config = ConfigDict(extra="allow")
    clientEventId: str
    userId: str


class Batch(BaseModel):
    model_config = ConfigDict(extra="forbid")
    events: list[BatchEvent]


def progress_batch(user_of, save):
    """`save(event, request)` keeps an event unless its id is known (`on conflict do nothing`), and says whether it was new."""
    router = APIRouter()

    @router.post("/api/progress/batch")
    async def take(batch: Batch, request: Request, user: Annotated[str, Depends(user_of)]):
        accepted, duplicates, failed = [], [], []
        for event in batch.events:
            if event.userId != user:
                failed.append({"id": event.clientEventId, "reason": "validation_error"})
            else:
                (accepted if save(event.model_dump(), request) else duplicates).append(event.clientEventId)
        return {"accepted": accepted, "duplicates": duplicates, "failed": failed}

    return router
