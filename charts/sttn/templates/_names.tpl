{{/* Names, labels, image. */}}

{{/* The release's name; short enough for what KubeRay makes of it (RayCluster: 53 characters). */}}
{{- define "sttn.name" -}}
{{- if gt (len .Release.Name) 30 -}}
{{- fail (printf "release name %q has %d characters, and KubeRay's names leave room for 30: give a shorter one" .Release.Name (len .Release.Name)) -}}
{{- end -}}
{{- .Release.Name -}}
{{- end -}}

{{/* Labels of a component's pods, for selectors: (dict "root" $ "component" "mlflow"). Without a name:
     KubeRay finds its pods by the one that it gives them. */}}
{{- define "sttn.selector" -}}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Labels of every object. */}}
{{- define "sttn.labels" -}}
{{ include "sttn.selector" . }}
app.kubernetes.io/name: sttn
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{/* Labels by which Kueue queues an object: (dict "queue" "video" "queuePriority" "high"), or a part of
     the values with these keys. */}}
{{- define "sttn.queueLabels" -}}
{{- with .queue }}
kueue.x-k8s.io/queue-name: {{ . }}
{{- end }}
{{- with .queuePriority }}
kueue.x-k8s.io/priority-class: {{ . }}
{{- end }}
{{- end -}}

{{- define "sttn.image" -}}
{{- with .Values.image -}}
{{- if not .repository -}}
{{- fail "image.repository is missing: build the image (k8s/image/Dockerfile), push it, and give its registry and name, such as registry.example.com/sttn" -}}
{{- end -}}
{{- if and (not (contains "/" .repository)) (ne .pullPolicy "Never") -}}
{{- fail (printf "image.repository is %q, which is docker.io/library/%s to a node, and nobody's: give a registry too, as registry.example.com/%s; or set image.pullPolicy: Never, if the nodes have the image" .repository .repository .repository) -}}
{{- end -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* Host of the chart's own MLflow, in the cluster. */}}
{{- define "sttn.mlflow.host" -}}
{{ include "sttn.name" . }}-mlflow.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}
{{- end -}}

{{- define "sttn.mlflow.uri" -}}
{{- if .Values.mlflow.enabled -}}
http://{{ include "sttn.mlflow.host" . }}:5000
{{- else -}}
{{ required "mlflow.uri is missing: with mlflow.enabled: false give the address of a server" .Values.mlflow.uri }}
{{- end -}}
{{- end -}}

{{/* The claim of MLflow's volume; empty where it needs none. */}}
{{- define "sttn.mlflow.claim" -}}
{{- with .Values.mlflow -}}
{{- if or (not .postgresql.existingSecret) (not .artifacts) -}}
{{ .volume.existingClaim | default (printf "%s-mlflow" (include "sttn.name" $)) }}
{{- end -}}
{{- end -}}
{{- end -}}
