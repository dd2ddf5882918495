"""The FastAPI application: strict content types, bodies checked by models (422), users known by a bearer token."""

import asyncio
import hashlib
import os
import sys
from typing import Annotated

APPS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path[:0] = [APPS, os.path.join(APPS, "..", "..", "..", "examples", "fastapi")]

from fastapi import Depends, FastAPI, Form, Header, HTTPException, Request, Response, UploadFile
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse, StreamingResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict

from batch import progress_batch
from ledger import BATCHED, SINGLE, Ledger

LEDGER = Ledger()
app = FastAPI()
bearer = HTTPBearer()


@app.middleware("http")
async def note_calls(request: Request, call_next):
    if not request.url.path.startswith(("/control/", "/healthz")):
        target = request.url.path + ("?" + request.url.query if request.url.query else "")
        LEDGER.saw(request.method, target, request.headers.items(), await request.body())
    return await call_next(request)


def user_of(credentials: Annotated[HTTPAuthorizationCredentials, Depends(bearer)]) -> str:
    if not credentials.credentials.startswith("token-"):
        raise HTTPException(401, "an unknown token")
    return credentials.credentials.removeprefix("token-").split(".")[0]


User = Annotated[str, Depends(user_of)]


class Progress(BaseModel):
    model_config = ConfigDict(extra="allow")
    id: str | int
    user_id: str


class Change(BaseModel):
    id: str
    user_id: str
    percent: int


def context(request: Request) -> dict:
    headers = request.headers
    return {
        "host": headers.get("host"),
        "scheme": headers.get("x-forwarded-proto") or request.url.scheme,
        "client": (headers.get("x-forwarded-for") or request.client.host).split(",")[0].strip(),
        "agent": headers.get("user-agent"),
        "language": headers.get("accept-language"),
        "version": headers.get("x-app-version"),
        "type": headers.get("content-type"),
        "cookies": {name: value for name, value in request.cookies.items() if not name.startswith("_ga")},
        "authorization": headers.get("authorization"),
        "origin": headers.get("origin"),
    }


@app.get("/healthz")
async def healthz():
    return PlainTextResponse("landed")


@app.post("/api/progress")
async def progress(event: Progress, request: Request, user: User):
    if event.user_id != user:
        raise HTTPException(403, "not your event")
    LEDGER.add(event.model_dump(), SINGLE, context(request))
    return {"ok": True}


@app.get("/api/progress")
async def listing(user: User, user_id: str | None = None):
    return {"items": LEDGER.of(user_id or user)}


@app.patch("/api/progress")
async def change(body: Change, user: User):
    return {"ok": True, "found": LEDGER.update(body.id, {"percent": body.percent})}


@app.delete("/api/progress")
async def delete(id: str, user: User):
    return Response(status_code=204 if LEDGER.delete(id) else 404)


def save(event, request):
    if not hasattr(request.state, "batch"):
        request.state.batch = LEDGER.next_batch()
    return LEDGER.add(event, BATCHED, context(request), request.state.batch)


app.include_router(progress_batch(user_of, save))


@app.get("/api/progress/summary")
async def summary(user: User, user_id: str = ""):
    rows = LEDGER.of(user_id)
    return {"user": user_id, "count": len(rows), "percent": rows[-1]["percent"] if rows else None}


@app.put("/api/items/{number}", status_code=201)
async def put_item(number: int, body: dict, user: User):
    LEDGER.docs[str(number)] = body
    return {"id": number}


@app.get("/api/items/{number}")
async def get_item(number: int):
    if str(number) not in LEDGER.docs:
        raise HTTPException(404, "no such item")
    return {"id": number, "item": LEDGER.docs[str(number)]}


@app.delete("/api/items/{number}")
async def delete_item(number: int, user: User):
    return Response(status_code=204 if LEDGER.docs.pop(str(number), None) is not None else 404)


@app.post("/api/upload")
async def upload(file: UploadFile, note: Annotated[str, Form()], user: User):
    data = await file.read()
    return {"name": file.filename, "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "note": note}


@app.put("/api/blob")
async def blob(request: Request):
    data = await request.body()
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


@app.get("/api/stream")
async def stream(gate: str):
    async def parts():
        yield b"data: first\n\n"
        await asyncio.to_thread(LEDGER.gate(gate).wait, 10)
        for number in range(5):
            yield f"data: {number}\n\n".encode()

    return StreamingResponse(parts(), media_type="text/event-stream", headers={"cache-control": "no-cache"})


@app.get("/here")
async def here(request: Request):
    return RedirectResponse(request.url.replace(path="/landed"), 302)


@app.get("/landed")
async def landed():
    return PlainTextResponse("landed")


@app.get("/cookies")
async def cookies(request: Request):
    answer = JSONResponse({"cookies": dict(sorted(request.cookies.items()))})
    answer.set_cookie("colour", "deep blue", samesite="lax")
    answer.set_cookie("size", "9", httponly=True, path="/cookies")
    return answer


@app.api_route("/doc", methods=["GET", "HEAD"])
async def doc(if_none_match: Annotated[str | None, Header()] = None):
    headers = {"etag": '"doc-1"', "last-modified": "Mon, 05 Jan 2026 10:00:00 GMT"}
    if if_none_match == '"doc-1"':
        return Response(status_code=304, headers=headers)
    return PlainTextResponse("a document\n" * 40, headers=headers)


@app.post("/form")
async def form(request: Request):
    values = await request.form()
    return {name: values.getlist(name) for name in sorted(values)}


@app.post("/text")
async def text(request: Request):
    return Response((await request.body())[::-1], media_type=request.headers.get("content-type", "none"))


@app.post("/control/reset")
async def reset():
    LEDGER.reset()


@app.post("/control/release")
async def release(gate: str):
    LEDGER.open_gate(gate)


@app.get("/control/store")
async def store():
    return Response(LEDGER.dump(), media_type="application/json")
