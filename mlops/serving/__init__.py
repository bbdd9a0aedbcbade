"""The service: videos and masks in over HTTP, filled videos out; and its page.

- `serving.py`: what the command does: Ray, the gateway, until it is ended
- `on_kubernetes.py`: the same for a RayService
- `gateway.py`: the process that answers HTTP, under Ray Serve
- `serve_models.py`: versions as deployments of Ray Serve; follows the alias
- `version_replica.py`: a process that holds one version and fills one video at a time
- `filling_order.py`: one video, filled as the command does that fills one
- `models.py`: what the service needs of models; nothing else of it knows Ray
- `service.py`: the service itself: a store, jobs, models
- `jobs.py`: jobs that wait, are filled, are kept
- `store.py`: videos and jobs in a folder, which outlive the service
- `records.py`: what is kept of a video and of a job
- `previews.py`: frames and masks of videos in folders, made in the background
- `isolated.py`: work on files that anybody sent, in processes of its own
- `children.py`: that work
- `uploads.py`: forms with files, straight to disk, within limits
- `http_app.py`: the app: page, health, metrics, and the routes of
- `http_jobs.py`: jobs
- `http_videos.py`: videos
- `http_masks.py`: masks of a video
- `access.py`: token, cookie, foreign pages
- `problems.py`: errors as answers
- `metrics.py`: numbers for Prometheus

`page/` is plain HTML, CSS and JavaScript, without a build step: it needs one canvas, a few buttons
and requests, which browsers have; a framework would be most of it.
"""
