{{/* Environment of the server and of its migration. */}}
{{- define "sttn.mlflow.env" -}}
{{- $mlflow := .Values.mlflow -}}
{{ include "sttn.scratchEnv" . }}
{{- if $mlflow.postgresql.existingSecret }}
# libpq reads the rest from its own variables, so that no URI holds a password.
- name: MLFLOW_BACKEND_STORE_URI
  value: postgresql://
{{- range list "PGHOST" "PGPORT" "PGUSER" "PGPASSWORD" "PGDATABASE" }}
{{ include "sttn.fromSecret" (list . $mlflow.postgresql.existingSecret .) }}
{{- end }}
{{- else }}
- name: MLFLOW_BACKEND_STORE_URI
  value: sqlite:////data/mlflow.db
{{- end }}
{{- if $mlflow.auth.enabled }}
- name: MLFLOW_AUTH_CONFIG_PATH
  value: /etc/mlflow/auth.ini
{{ include "sttn.fromSecret" (list "MLFLOW_AUTH_ADMIN_USERNAME" $mlflow.existingSecret "username") }}
{{ include "sttn.fromSecret" (list "MLFLOW_AUTH_ADMIN_PASSWORD" $mlflow.existingSecret "password") }}
{{ include "sttn.fromSecret" (list "MLFLOW_FLASK_SERVER_SECRET_KEY" $mlflow.existingSecret "flask-secret-key") }}
{{- end }}
- name: MLFLOW_SERVER_ENABLE_JOB_EXECUTION
  value: "false"
- name: MLFLOW_DISABLE_TELEMETRY
  value: "true"
# A version may come from a logged model or another version, never from a path on the server.
- name: MLFLOW_CREATE_MODEL_VERSION_SOURCE_VALIDATION_REGEX
  value: "^models:/"
{{ include "sttn.storeEnv" . }}
{{- end -}}

{{- define "sttn.mlflow.mounts" -}}
- {name: scratch, mountPath: /tmp}
{{- if include "sttn.mlflow.claim" . }}
- {name: data, mountPath: /data}
{{- end }}
{{- if .Values.mlflow.auth.enabled }}
- {name: config, mountPath: /etc/mlflow, readOnly: true}
{{- end }}
{{- end -}}
