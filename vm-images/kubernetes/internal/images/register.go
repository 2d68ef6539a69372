package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	contentservice "github.com/containerd/containerd/api/services/content/v1"
	imageservice "github.com/containerd/containerd/api/services/images/v1"
	leaseservice "github.com/containerd/containerd/api/services/leases/v1"
	snapshotservice "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/api/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

const (
	namespace = "k8s.io"
	// Labels that the kubelet's garbage collection and containerd's read.
	labelManaged = "io.cri-containerd.image"
	labelPinned  = "io.cri-containerd.pinned"
	labelRootfs  = "alcove.local/rootfs"
)

// Registrar puts bundles into containerd.
type Registrar struct {
	content     contentservice.ContentClient
	images      imageservice.ImagesClient
	snapshots   snapshotservice.SnapshotsClient
	leases      leaseservice.LeasesClient
	snapshotter string
}

// NewRegistrar works over a connection to containerd.
func NewRegistrar(connection *grpc.ClientConn, snapshotter string) *Registrar {
	return &Registrar{
		content: contentservice.NewContentClient(connection), images: imageservice.NewImagesClient(connection),
		snapshots: snapshotservice.NewSnapshotsClient(connection), leases: leaseservice.NewLeasesClient(connection),
		snapshotter: snapshotter,
	}
}

// Register makes one bundle an image. It may be called at every start: what is
// right stays untouched, what names another rootfs or digest is replaced.
func (r *Registrar) Register(ctx context.Context, bundle Bundle) error {
	config, manifest, err := bundle.blobs()
	if err != nil {
		return err
	}
	ctx = metadata.AppendToOutgoingContext(ctx, "containerd-namespace", namespace)
	if r.current(ctx, bundle, manifest) {
		return nil
	}
	// A lease keeps the collector away while the parts don't hold each other.
	lease, err := r.leases.Create(ctx, &leaseservice.CreateRequest{Labels: map[string]string{}})
	if err != nil {
		return fmt.Errorf("lease: %w", err)
	}
	defer r.leases.Delete(ctx, &leaseservice.DeleteRequest{ID: lease.Lease.ID})
	leased := metadata.AppendToOutgoingContext(ctx, "containerd-lease", lease.Lease.ID)
	if err := r.snapshot(leased, bundle); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	if err := r.write(leased, config, map[string]string{
		"containerd.io/gc.ref.snapshot." + r.snapshotter: bundle.LayerDigest,
	}); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	// The manifest holds the config; the layer's blob does not exist.
	if err := r.write(leased, manifest, map[string]string{"containerd.io/gc.ref.content.config": config.digest}); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	image := func(name string) *imageservice.Image {
		return &imageservice.Image{
			Name:   name,
			Labels: map[string]string{labelManaged: "managed", labelPinned: "pinned"},
			Target: &types.Descriptor{MediaType: manifest.mediaType, Digest: manifest.digest, Size: int64(len(manifest.content))},
		}
	}
	// CRI looks images up by their name, by name and digest, and by the
	// digest of their config, which is what it calls an image's id.
	for _, name := range []string{bundle.Reference, config.digest} {
		if err := r.put(ctx, image(name)); err != nil {
			return fmt.Errorf("image %s: %w", name, err)
		}
	}
	return nil
}

// current says whether the image, its snapshot and the rootfs behind it are
// as they should be.
func (r *Registrar) current(ctx context.Context, bundle Bundle, manifest blob) bool {
	found, err := r.images.Get(ctx, &imageservice.GetImageRequest{Name: bundle.Reference})
	if err != nil || found.Image.Target.Digest != manifest.digest {
		return false
	}
	stat, err := r.snapshots.Stat(ctx, &snapshotservice.StatSnapshotRequest{Snapshotter: r.snapshotter, Key: bundle.LayerDigest})
	if err != nil || stat.Info.Labels[labelRootfs] != bundle.Rootfs {
		return false
	}
	folder, err := r.folder(ctx, bundle.LayerDigest)
	if err != nil {
		return false
	}
	target, err := os.Readlink(folder)
	return err == nil && target == bundle.Rootfs
}

// snapshot makes a committed snapshot whose folder is a link to the rootfs.
// overlayfs resolves a lower folder when it mounts, so containers see the
// rootfs itself and nothing is copied.
func (r *Registrar) snapshot(ctx context.Context, bundle Bundle) error {
	labels := map[string]string{labelRootfs: bundle.Rootfs}
	name := bundle.LayerDigest
	if stat, err := r.snapshots.Stat(ctx, &snapshotservice.StatSnapshotRequest{Snapshotter: r.snapshotter, Key: name}); err == nil {
		folder, err := r.folder(ctx, name)
		if err != nil {
			return err
		}
		if err := link(folder, bundle.Rootfs); err != nil {
			return err
		}
		if stat.Info.Labels[labelRootfs] == bundle.Rootfs {
			return nil
		}
		_, err = r.snapshots.Update(ctx, &snapshotservice.UpdateSnapshotRequest{
			Snapshotter: r.snapshotter, Info: &snapshotservice.Info{Name: name, Labels: labels},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"labels"}},
		})
		return err
	}
	key := "alcove-" + strings.TrimPrefix(name, "sha256:")
	_, err := r.snapshots.Prepare(ctx, &snapshotservice.PrepareSnapshotRequest{Snapshotter: r.snapshotter, Key: key, Labels: labels})
	if status.Code(err) == codes.AlreadyExists {
		// A start that was cut off here left it behind.
		if _, err := r.snapshots.Remove(ctx, &snapshotservice.RemoveSnapshotRequest{Snapshotter: r.snapshotter, Key: key}); err != nil {
			return err
		}
		_, err = r.snapshots.Prepare(ctx, &snapshotservice.PrepareSnapshotRequest{Snapshotter: r.snapshotter, Key: key, Labels: labels})
		if err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	folder, err := r.folder(ctx, key)
	if err != nil {
		return err
	}
	if err := link(folder, bundle.Rootfs); err != nil {
		return err
	}
	_, err = r.snapshots.Commit(ctx, &snapshotservice.CommitSnapshotRequest{Snapshotter: r.snapshotter, Key: key, Name: name, Labels: labels})
	return err
}

// folder finds where a snapshot's content lies, from the mount that containerd
// itself would make.
func (r *Registrar) folder(ctx context.Context, key string) (string, error) {
	response, err := r.snapshots.Mounts(ctx, &snapshotservice.MountsRequest{Snapshotter: r.snapshotter, Key: key})
	if status.Code(err) == codes.NotFound || (err != nil && strings.Contains(err.Error(), "not active")) || isCommitted(err) {
		view := "alcove-view-" + strings.TrimPrefix(key, "sha256:")
		opened, viewErr := r.snapshots.View(ctx, &snapshotservice.ViewSnapshotRequest{Snapshotter: r.snapshotter, Key: view, Parent: key})
		if status.Code(viewErr) == codes.AlreadyExists {
			if _, err := r.snapshots.Remove(ctx, &snapshotservice.RemoveSnapshotRequest{Snapshotter: r.snapshotter, Key: view}); err != nil {
				return "", err
			}
			opened, viewErr = r.snapshots.View(ctx, &snapshotservice.ViewSnapshotRequest{Snapshotter: r.snapshotter, Key: view, Parent: key})
		}
		if viewErr != nil {
			return "", viewErr
		}
		defer r.snapshots.Remove(ctx, &snapshotservice.RemoveSnapshotRequest{Snapshotter: r.snapshotter, Key: view})
		return source(opened.Mounts)
	}
	if err != nil {
		return "", err
	}
	return source(response.Mounts)
}

func isCommitted(err error) bool {
	code := status.Code(err)
	return code == codes.FailedPrecondition || code == codes.InvalidArgument
}

func source(mounts []*types.Mount) (string, error) {
	if len(mounts) == 1 && mounts[0].Type == "bind" {
		return mounts[0].Source, nil
	}
	return "", errors.New("the snapshotter does not use plain folders")
}

// link replaces a snapshot's empty folder by a link to the rootfs.
func link(folder, rootfs string) error {
	if target, err := os.Readlink(folder); err == nil {
		if target == rootfs {
			return nil
		}
		if err := os.Remove(folder); err != nil {
			return err
		}
	} else if err := os.Remove(folder); err != nil && !os.IsNotExist(err) {
		// Remove takes only an empty folder: content is never thrown away.
		return err
	}
	temporary := filepath.Join(filepath.Dir(folder), ".fs-link")
	if err := os.Remove(temporary); err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := os.Symlink(rootfs, temporary); err != nil {
		return err
	}
	return os.Rename(temporary, folder)
}

func (r *Registrar) write(ctx context.Context, b blob, labels map[string]string) error {
	stream, err := r.content.Write(ctx)
	if err != nil {
		return err
	}
	err = stream.Send(&contentservice.WriteContentRequest{
		Action: contentservice.WriteAction_COMMIT, Ref: "alcove-" + b.digest, Total: int64(len(b.content)),
		Expected: b.digest, Data: b.content, Labels: labels,
	})
	if err != nil {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	_, err = stream.Recv()
	if status.Code(err) == codes.AlreadyExists {
		_, err = r.content.Update(ctx, &contentservice.UpdateRequest{
			Info:       &contentservice.Info{Digest: b.digest, Labels: labels},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: labelPaths(labels)},
		})
	}
	return err
}

func labelPaths(labels map[string]string) []string {
	paths := []string{}
	for name := range labels {
		paths = append(paths, "labels."+name)
	}
	return paths
}

func (r *Registrar) put(ctx context.Context, image *imageservice.Image) error {
	_, err := r.images.Create(ctx, &imageservice.CreateImageRequest{Image: image})
	if status.Code(err) == codes.AlreadyExists {
		_, err = r.images.Update(ctx, &imageservice.UpdateImageRequest{Image: image})
	}
	return err
}
