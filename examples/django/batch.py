"""The batch endpoint for Django, beside the view that takes one event."""

import json

from django.http import JsonResponse
from django.views.decorators.http import require_POST


@require_POST
def progress_batch(request, save):
    """`save(event)` keeps an event unless its id is known (`get_or_create`), and says whether it was new."""
    user = request.session.get("user")
    if user is None:
        return JsonResponse({"error": "sign in"}, status=401)
    accepted, duplicates, failed = [], [], []
    for event in json.loads(request.body)["events"]:
        if event.get("userId") != user:
            failed.append({"id": event.get("clientEventId"), "reason": "validation_error"})
        else:
            (accepted if save(event) else duplicates).append(event["clientEventId"])
    return JsonResponse({"accepted": accepted, "duplicates": duplicates, "failed": failed})
