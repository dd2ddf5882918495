"""The Django application: hosts are checked, writes need the CSRF pair, users are known by their session."""

import hashlib
import json
import os
import sys

APPS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path[:0] = [APPS, os.path.join(APPS, "..", "..", "..", "examples", "django")]

from django.conf import settings

settings.configure(
    DEBUG=False,
    SECRET_KEY="only for the compatibility suite",
    ALLOWED_HOSTS=["app.example", "tenant-b.example"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "app.NoteCalls",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
    SESSION_ENGINE="django.contrib.sessions.backends.cache",
    CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "OPTIONS": {"MAX_ENTRIES": 100_000}}},
    SECURE_SSL_REDIRECT=os.environ.get("COMPAT_SSL") == "1",
    SECURE_REDIRECT_EXEMPT=["^control/", "^healthz$"],
    SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https") if os.environ.get("COMPAT_SSL") == "1" else None,
    DATA_UPLOAD_MAX_MEMORY_SIZE=8 << 20,
    LOGGING_CONFIG=None,
)

import django
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, HttpResponseRedirect, JsonResponse, StreamingHttpResponse
from django.middleware.csrf import get_token
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import etag, require_http_methods

from batch import progress_batch
from ledger import BATCHED, SINGLE, Ledger

LEDGER = Ledger()
django.setup()


class NoteCalls:
    """Keeps what each call looked like when it arrived."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        if not request.path.startswith(("/control/", "/healthz")):
            small = int(request.headers.get("content-length") or 0) <= 8 << 20
            LEDGER.saw(request.method, request.get_full_path(), request.headers.items(), request.body if small else None)
        return self.get_response(request)


def context(request):
    return {
        "host": request.get_host(),
        "scheme": request.scheme,
        "client": (request.headers.get("x-forwarded-for") or request.META["REMOTE_ADDR"]).split(",")[0].strip(),
        "agent": request.headers.get("user-agent"),
        "language": request.headers.get("accept-language"),
        "version": request.headers.get("x-app-version"),
        "type": request.content_type,
        "cookies": {name: value for name, value in request.COOKIES.items() if not name.startswith("_ga")},
        "session": request.session.get("user"),
        "csrf": request.headers.get("x-csrftoken"),
        "origin": request.headers.get("origin"),
    }


def signed_in(request):
    return request.session.get("user")


def login(request):
    if request.method == "GET":
        return JsonResponse({"csrf": bool(get_token(request))})
    request.session["user"] = json.loads(request.body)["user"]
    return JsonResponse({"ok": True})


@require_http_methods(["GET", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS"])
def progress(request):
    user = signed_in(request)
    if user is None:
        return JsonResponse({"error": "sign in"}, status=401)
    if request.method in ("GET", "HEAD"):
        return JsonResponse({"items": LEDGER.of(request.GET.get("user_id", user))})
    if request.method == "DELETE":
        found = LEDGER.delete(request.GET["id"])
        return HttpResponse(status=204 if found else 404)
    try:
        event = json.loads(request.body)
    except ValueError:
        return JsonResponse({"error": "the body is no JSON"}, status=400)
    if not isinstance(event, dict) or "id" not in event or "user_id" not in event:
        return JsonResponse({"error": "id and user_id are needed"}, status=422)
    if event["user_id"] != user:
        return JsonResponse({"error": "not your event"}, status=403)
    if request.method == "PATCH":
        found = LEDGER.update(str(event["id"]), {"percent": event["percent"]})
        return JsonResponse({"ok": True, "found": found})
    LEDGER.add(event, SINGLE, context(request))
    return JsonResponse({"ok": True})


def batch(request):
    number = LEDGER.next_batch() if signed_in(request) else None
    return progress_batch(request, lambda event: LEDGER.add(event, BATCHED, context(request), number))


def summary(request):
    user = request.GET.get("user_id", "")
    rows = LEDGER.of(user)
    return JsonResponse({"user": user, "count": len(rows), "percent": rows[-1]["percent"] if rows else None})


@require_http_methods(["GET", "PUT", "DELETE"])
def item(request, number):
    if request.method == "PUT":
        LEDGER.docs[str(number)] = json.loads(request.body)
        return JsonResponse({"id": number}, status=201)
    if str(number) not in LEDGER.docs:
        return JsonResponse({"error": "no such item"}, status=404)
    if request.method == "DELETE":
        del LEDGER.docs[str(number)]
        return HttpResponse(status=204)
    return JsonResponse({"id": number, "item": LEDGER.docs[str(number)]})


def upload(request):
    file = request.FILES["file"]
    digest = hashlib.sha256(file.read()).hexdigest()
    return JsonResponse({"name": file.name, "size": file.size, "sha256": digest, "note": request.POST.get("note")})


def blob(request):
    return JsonResponse({"size": len(request.body), "sha256": hashlib.sha256(request.body).hexdigest()})


def stream(request):
    def parts():
        yield b"data: first\n\n"
        LEDGER.gate(request.GET["gate"]).wait(10)
        for number in range(5):
            yield f"data: {number}\n\n".encode()

    answer = StreamingHttpResponse(parts(), content_type="text/event-stream")
    answer["Cache-Control"] = "no-cache"
    return answer


def here(request):
    return HttpResponseRedirect(request.build_absolute_uri("/landed?" + request.META["QUERY_STRING"]))


def landed(request):
    return HttpResponse("landed")


def cookies(request):
    answer = JsonResponse({"cookies": dict(sorted(request.COOKIES.items()))})
    answer.set_cookie("colour", "deep blue", samesite="Lax")
    answer.set_cookie("size", "9", httponly=True, path="/cookies")
    return answer


@etag(lambda request: '"doc-1"')
def doc(request):
    answer = HttpResponse("a document\n" * 40, content_type="text/plain; charset=utf-8")
    answer["Last-Modified"] = "Mon, 05 Jan 2026 10:00:00 GMT"
    return answer


@csrf_exempt
def form(request):
    return JsonResponse({name: request.POST.getlist(name) for name in sorted(request.POST)})


@csrf_exempt
def text(request):
    return HttpResponse(request.body[::-1], content_type=request.headers.get("content-type", "none"))


@csrf_exempt
def control(request, what):
    if what == "reset":
        LEDGER.reset()
    elif what == "release":
        LEDGER.open_gate(request.GET["gate"])
    elif what == "store":
        return HttpResponse(LEDGER.dump(), content_type="application/json")
    return HttpResponse("ok")


urlpatterns = [
    path("healthz", landed),
    path("login", login),
    path("api/progress", progress),
    path("api/progress/batch", batch),
    path("api/progress/summary", summary),
    path("api/items/<int:number>", item),
    path("api/upload", upload),
    path("api/blob", csrf_exempt(blob)),
    path("api/stream", stream),
    path("here", here),
    path("landed", landed),
    path("cookies", cookies),
    path("doc", doc),
    path("form", form),
    path("text", text),
    path("control/<str:what>", control),
]

application = get_wsgi_application()
